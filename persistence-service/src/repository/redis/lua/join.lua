-- Makes a user present through a session and reads the room at that instant.
-- ARGV: session, user, name, lease (ms, '' for none), mode, after epoch, after revision, message limit

local session, user, name, lease, mode, after_epoch, after_revision, limit = unpack(ARGV)

if not epoch then
  return { 'gone' }
end

local agrees = presence_agrees()
local seats = tonumber(redis.call('HGET', room_key, 'maxParticipants'))
local present = redis.call('HLEN', participants_key)
local old_name = redis.call('HGET', participants_key, user)
local owner = redis.call('HGET', session_users_key, session)
local count = tonumber(redis.call('HGET', user_sessions_key, user) or '0')
redis.call('LLEN', messages_key)
redis.call('HLEN', board_key)
redis.call('ZCARD', changes_key)
redis.call('ZCARD', tombstones_key)

if not (seats and count) then
  return redis.error_reply('DAMAGED the room lacks its seats, or a user its number of sessions')
end
if not agrees then
  forget_presence()
  present, old_name, owner, count = 0, nil, nil, 0
end
if owner and owner ~= user then
  return { 'identity_mismatch' }
end
if not old_name and present >= seats then
  return { 'full' }
end

local lease_end = '+inf'
if lease ~= '' then
  lease_end = text(math.floor(now / 1000) + lease)
end
local kind
if not old_name then
  kind = 'joined'
elseif old_name ~= name then
  kind = 'renamed'
end

if kind or not owner then
  local instant, moved = expire_time()
  local revision = last
  if kind then
    revision = next_revision()
  end
  local position = text(revision)
  local seated = present
  if kind == 'joined' then
    seated = present + 1
  end
  redis.call('HSET', room_key, 'revision', position, 'participantCount', text(seated))
  redis.call('HSET', participants_key, user, name)
  if kind == 'joined' then
    redis.call('ZADD', arrivals_key, position, user)
  end
  if not owner then
    redis.call('HSET', session_users_key, session, user)
    redis.call('HSET', user_sessions_key, user, text(count + 1))
  end
  redis.call('ZADD', sessions_key, lease_end, session)
  refresh(instant, moved, 6, 10)
  if kind then
    publish(kind, position, last_text, instant, session, { user, name })
  end
else
  renew({ lease_end, session })
end

return { 'ok', snapshot(mode, after_epoch, after_revision, limit), history(mode), text(now) }
