-- The leases of sessions, and their end.

-- Gives sessions another end of their leases: end, session, end, session.
--
-- Nobody who lives may be lost because the store is full: Redis checks its
-- memory before a script's first write only, and a removal passes that check, so
-- one that removes nothing comes first.
local function renew(leases)
  redis.call('ZREM', sessions_key, '')
  call_in_parts('ZADD', sessions_key, leases)
end

-- Sessions whose leases ended long ago, a few at most. The index should have
-- named them; one that lost them, or never had them, learns of them so.
local function left_behind(lease)
  return redis.call('ZRANGEBYSCORE', sessions_key, '-inf',
    text(math.floor(now / 1000) - lease), 'LIMIT', 0, 20)
end

-- Whether the keys of presence agree. Where one of them was lost, or is of a time
-- before another one was kept, nobody can tell who is there.
local function presence_agrees()
  local present = redis.call('HLEN', participants_key)
  return present == redis.call('ZCARD', arrivals_key)
    and present == redis.call('HLEN', user_sessions_key)
    and redis.call('ZCARD', sessions_key) == redis.call('HLEN', session_users_key)
end

-- Empties the room. Whoever is there is found to be unknown when their session is
-- renewed, and joins again. Readers catch up. Removals come first, as ever.
local function forget_presence()
  local instant, moved = expire_time()
  for _, key in ipairs({ participants_key, arrivals_key, sessions_key,
    session_users_key, user_sessions_key }) do
    redis.call('DEL', key)
  end
  local previous = last_text
  last = next_revision()
  last_text = text(last)
  redis.call('HSET', room_key, 'revision', last_text, 'participantCount', '0')
  refresh(instant, moved)
  publish('omitted', last_text, previous, instant, '', {})
end

-- Ends a session; its user is gone with the last one.
--
-- The removals come first, so that people can leave when the store is full.
local function end_session(session, user)
  local name = redis.call('HGET', participants_key, user) or ''
  local count = tonumber(redis.call('HGET', user_sessions_key, user) or '1')
  redis.call('ZCARD', sessions_key)
  redis.call('ZCARD', arrivals_key)
  local instant, moved = expire_time()

  redis.call('HDEL', session_users_key, session)
  redis.call('ZREM', sessions_key, session)
  if count and count > 1 then
    redis.call('HSET', user_sessions_key, user, text(count - 1))
    refresh(instant, moved)
    return
  end
  redis.call('HDEL', user_sessions_key, user)
  redis.call('HDEL', participants_key, user)
  redis.call('ZREM', arrivals_key, user)
  local revision = text(next_revision())
  redis.call('HSET', room_key, 'revision', revision,
    'participantCount', text(redis.call('HLEN', participants_key)))
  refresh(instant, moved)
  publish('left', revision, last_text, instant, session, { user, name })
end
