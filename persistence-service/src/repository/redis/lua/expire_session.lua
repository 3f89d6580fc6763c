-- Ends a session whose lease has passed by the room's own clock.
-- ARGV: session
--
-- The index that named it may be late: the lease here decides.

local session = ARGV[1]

if not epoch then
  return { 'gone' }
end

local owner = redis.call('HGET', session_users_key, session)
local lease = tonumber(redis.call('ZSCORE', sessions_key, session) or '')
if not owner then
  return { 'gone' }
end
local left = (lease or 0) - math.floor(now / 1000)
if left > 0 then
  return { 'alive', text(math.min(left, MOST_MILLISECONDS)) }
end
end_session(session, owner)

return { 'ok' }
