-- Ends a session; its user is gone with the last one.
-- ARGV: session, user
--
-- The removals come first, so that people can leave when the store is full.

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
local name = redis.call('HGET', participants_key, user) or ''
local count = tonumber(redis.call('HGET', user_sessions_key, user) or '1')
redis.call('ZCARD', sessions_key)
redis.call('ZCARD', arrivals_key)

redis.call('HDEL', session_users_key, session)
redis.call('ZREM', sessions_key, session)
local instant = expire_time()
if count and count > 1 then
  redis.call('HSET', user_sessions_key, user, text(count - 1))
  refresh(instant)
  return { 'ok' }
end
redis.call('HDEL', user_sessions_key, user)
redis.call('HDEL', participants_key, user)
redis.call('ZREM', arrivals_key, user)
local revision = text(next_revision())
redis.call('HSET', room_key, 'revision', revision,
  'participantCount', text(redis.call('HLEN', participants_key)))
refresh(instant)
publish('left', revision, text(last), instant, session, { user, name })

return { 'ok' }
