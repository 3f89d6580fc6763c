-- Reads the newest messages of the room.
-- ARGV: the index of the last one
--
-- A transaction would do, but Redis refuses one when its memory is full, even
-- where it only reads.

if not epoch then
  return { 'gone' }
end

return { 'ok', redis.call('LRANGE', messages_key, 0, ARGV[1]) }
