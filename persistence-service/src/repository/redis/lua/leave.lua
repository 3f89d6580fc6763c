-- Ends a session at its own wish.
-- ARGV: session, user

local session, user = unpack(ARGV)

if not epoch then
  return { 'gone' }
end

local owner = redis.call('HGET', session_users_key, session)
if not owner then
  return { 'ok' }
end
if owner ~= user then
  return { 'identity_mismatch' }
end
local lease = redis.call('ZSCORE', sessions_key, session) or '0'
end_session(session, user)

return { 'ended', lease }
