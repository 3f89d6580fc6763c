-- Deletes the room with all its keys and tells its readers.
-- ARGV: how long a retry of this call may come (ms)
--
-- The service repeats this call if its connection breaks before the answer comes. The
-- repeated call finds the room gone, and under its own request id that it is what deleted
-- the room.

local keep = unpack(ARGV)

if not epoch then
  local deleted = redis.call('GET', request_key)
  if deleted then
    return { 'ok', deleted }
  end
  return { 'gone' }
end
redis.call('GET', request_key)

local created = redis.call('HGET', room_key, 'createdAt') or '0'
for i = 1, 10 do
  redis.call('DEL', KEYS[i])
end
-- Only a retry needs this, so the deletion does not fail for it.
redis.pcall('SET', request_key, created, 'PX', keep)
publish('deleted', text(next_revision()), last_text, text(math.floor(now / 1000)), '', {})

return { 'ok', created }
