-- Removes a session from the index unless it has been noted anew since.
-- KEYS: sessions:due. ARGV: member, the latest score that it may have
--
-- Its entry stands before the session does, so a later one belongs to a session
-- that has just come, or is about to.

local score = redis.call('ZSCORE', KEYS[1], ARGV[1])
if score and tonumber(score) <= tonumber(ARGV[2]) then
  redis.call('ZREM', KEYS[1], ARGV[1])
end
