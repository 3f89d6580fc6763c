-- Notes in the index when the leases of sessions end.
-- KEYS: sessions:due. ARGV: how long they have (ms), members
--
-- As in a renewal, a full store must not lose who lives.

local clock = redis.call('TIME')
local due = string.format('%.0f', clock[1] * 1000 + math.floor(clock[2] / 1000) + ARGV[1])

redis.call('ZREM', KEYS[1], '')
for i = 2, #ARGV do
  redis.call('ZADD', KEYS[1], due, ARGV[i])
end

return due
