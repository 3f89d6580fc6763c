-- Remembers which code a request to create a room is for.
-- KEYS: the request's. ARGV: candidate, a code that proved taken or '', how long to keep (ms)

local claimed = redis.call('GET', KEYS[1])
if claimed and claimed ~= ARGV[2] then
  return claimed
end
redis.call('SET', KEYS[1], ARGV[1], 'PX', ARGV[3])

return ARGV[1]
