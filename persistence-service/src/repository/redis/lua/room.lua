-- Reads the room, when it ends, the time now, and how many messages it keeps.

if not epoch then
  return { 'gone' }
end

return {
  'ok',
  redis.call('HGETALL', room_key),
  text(redis.call('PEXPIRETIME', room_key)),
  text(math.floor(now / 1000)),
  text(redis.call('LLEN', messages_key)),
}
