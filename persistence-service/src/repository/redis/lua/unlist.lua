-- Removes a member from an index unless it has another score by now.
-- KEYS: the index. ARGV: member, score

if redis.call('ZSCORE', KEYS[1], ARGV[1]) == ARGV[2] then
  redis.call('ZREM', KEYS[1], ARGV[1])
end
