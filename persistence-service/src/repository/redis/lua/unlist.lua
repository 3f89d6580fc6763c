-- Removes a code from the index of active rooms unless it has been listed anew.
-- KEYS: rooms:active. ARGV: code, score

if redis.call('ZSCORE', KEYS[1], ARGV[1]) == ARGV[2] then
  redis.call('ZREM', KEYS[1], ARGV[1])
end
