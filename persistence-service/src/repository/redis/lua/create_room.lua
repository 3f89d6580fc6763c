-- Creates the room unless its code is taken.
-- ARGV: code, name, creator, seats, ttl (ms), fingerprint, how long to keep the request (ms)

local code, name, creator, seats, life, fingerprint, keep = unpack(ARGV)

if epoch then
  local same = recorded(fingerprint)
  if same == false then
    return { 'conflict' }
  elseif same then
    return { 'duplicate', redis.call('HGETALL', room_key), text(redis.call('PEXPIRETIME', room_key)) }
  end
  return { 'taken' }
end

redis.call('GET', request_key)
ttl = tonumber(life)
epoch = text(now)
redis.call('HSET', room_key,
  'id', code, 'code', code, 'name', name, 'createdBy', creator,
  'createdAt', text(math.floor(now / 1000)),
  'participantCount', '0', 'maxParticipants', seats,
  'epoch', epoch, 'revision', epoch, 'trimmed', '0', 'pruned', '0',
  'boardBytes', '0', 'boardOrdinal', '0', 'ttl', life)
-- What an earlier room of this code may have left behind is not this room's.
for i = 2, 10 do
  redis.call('DEL', KEYS[i])
end
record(fingerprint, keep, 'created')
refresh(text(math.floor(now / 1000) + ttl), true)

return { 'ok', redis.call('HGETALL', room_key), text(redis.call('PEXPIRETIME', room_key)) }
