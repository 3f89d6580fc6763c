-- What every script of a room begins with: its keys, its clock, its state.
--
-- Redis does not roll a script back. Each script therefore reads and type-checks
-- every key that it is going to touch, decides, and only then writes: nothing
-- after the first write may raise. Numbers become text by `text` alone, because
-- Lua's own conversion writes large ones with an exponent.

local room_key, messages_key, board_key, changes_key, tombstones_key,
      participants_key, arrivals_key, sessions_key, session_users_key,
      user_sessions_key, request_key, feed_channel = unpack(KEYS)

local MOST_UNPACKED = 500 -- Lua's stack holds a few thousand values, not more.
local LARGEST_EVENT = 65536 -- Bytes; larger ones are told without their body.
local MOST_MILLISECONDS = 1e12 -- Thirty years: a lease without an end is as long.

local clock = redis.call('TIME')
local now = clock[1] * 1000000 + clock[2]

local state = redis.call('HMGET', room_key,
  'epoch', 'revision', 'ttl', 'trimmed', 'pruned')
local epoch = state[1]
local last = tonumber(state[2])
local ttl = tonumber(state[3])
local trimmed = tonumber(state[4]) or 0
local pruned = tonumber(state[5]) or 0

if epoch and not (tonumber(epoch) and last and ttl) then
  return redis.error_reply('DAMAGED the room hash lacks its epoch, revision or ttl')
end

local function text(number)
  return string.format('%.0f', number)
end

-- The next revision: the clock, or one more than the last where the clock has
-- not moved past it.
local function next_revision()
  if last and last >= now then
    return last + 1
  end
  return now
end

-- The instant, in milliseconds, at which the room ends if this is its last
-- activity.
local function expire_time()
  return text(math.floor(now / 1000) + ttl)
end

-- Lets all keys of the room end at one instant.
local function refresh(instant)
  for i = 1, 10 do
    redis.call('PEXPIREAT', KEYS[i], instant)
  end
end

-- Tells an event to whoever listens: its fields, each as length, colon, bytes.
-- A failure to tell is no failure of the change; readers find the gap.
local function publish(kind, revision, previous, instant, session, body)
  local fields = { kind, epoch, revision, previous, instant, session }
  local size = 0
  for _, field in ipairs(body) do
    size = size + #field
  end
  if size > LARGEST_EVENT then
    fields[1] = 'omitted'
  else
    for _, field in ipairs(body) do
      fields[#fields + 1] = field
    end
  end
  for i, field in ipairs(fields) do
    fields[i] = #field .. ':' .. field
  end
  redis.pcall('SPUBLISH', feed_channel, table.concat(fields))
end

-- The outcome recorded under the request id: nothing, or whether its content is
-- the same and what came of it. A record of another epoch is another room's.
local function recorded(fingerprint)
  local record = redis.call('GET', request_key)
  if not record then
    return nil
  end
  local record_epoch, record_fingerprint, outcome =
    string.match(record, '^(%d+) (%x+) (.*)$')
  if record_epoch ~= epoch then
    return nil
  end
  return record_fingerprint == fingerprint, outcome
end

-- Keeps the outcome of a request for as long as a retry may come.
local function record(fingerprint, keep, outcome)
  redis.call('SET', request_key, epoch .. ' ' .. fingerprint .. ' ' .. outcome,
    'PX', text(math.min(tonumber(keep), ttl)))
end

-- Why this session may not act for this user, or nothing. A trusted backend
-- acts without a session.
local function refused(session, user)
  if session == '' then
    return nil
  end
  local owner = redis.call('HGET', session_users_key, session)
  if not owner then
    return 'not_joined'
  end
  if owner ~= user then
    return 'identity_mismatch'
  end
  return nil
end

-- Calls a command with a key and any number of values, a part at a time.
local function call_in_parts(command, key, values)
  for first = 1, #values, MOST_UNPACKED do
    redis.call(command, key,
      unpack(values, first, math.min(first + MOST_UNPACKED - 1, #values)))
  end
end

-- The stored elements of these ids, `false` where there is none.
local function stored_elements(ids)
  local stored = {}
  for first = 1, #ids, MOST_UNPACKED do
    local part = redis.call('HMGET', board_key,
      unpack(ids, first, math.min(first + MOST_UNPACKED - 1, #ids)))
    for i = 1, #part do
      stored[first + i - 1] = part[i]
    end
  end
  return stored
end

-- The revision of a stored message. Inside a text the quotes are escaped, so
-- only the field itself matches.
local function message_revision(message)
  return tonumber(string.match(message, ',"revision":(%d+)'))
end

-- The messages after a revision, newest first, at most `limit`.
local function messages_after(revision, limit)
  local newer = {}
  for first = 0, limit - 1, 20 do
    local part = redis.call('LRANGE', messages_key, first, math.min(first + 20, limit) - 1)
    for _, message in ipairs(part) do
      local at = message_revision(message)
      if at and at <= revision then
        return newer
      end
      newer[#newer + 1] = message
    end
    if #part < 20 then
      return newer
    end
  end
  return newer
end

-- Elements as id, stored value, id, stored value.
local function elements_after(revision)
  local ids = redis.call('ZRANGEBYSCORE', changes_key, '(' .. text(revision), '+inf')
  local stored = stored_elements(ids)
  local pairs_of = {}
  for i, id in ipairs(ids) do
    if stored[i] then
      pairs_of[#pairs_of + 1] = id
      pairs_of[#pairs_of + 1] = stored[i]
    end
  end
  return pairs_of
end

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
  for _, key in ipairs({ participants_key, arrivals_key, sessions_key,
    session_users_key, user_sessions_key }) do
    redis.call('DEL', key)
  end
  local instant = expire_time()
  local previous = text(last)
  last = next_revision()
  redis.call('HSET', room_key, 'revision', text(last), 'participantCount', '0')
  refresh(instant)
  publish('omitted', text(last), previous, instant, '', {})
end

-- Ends a session; its user is gone with the last one.
--
-- The removals come first, so that people can leave when the store is full.
local function end_session(session, user)
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
    return
  end
  redis.call('HDEL', user_sessions_key, user)
  redis.call('HDEL', participants_key, user)
  redis.call('ZREM', arrivals_key, user)
  local revision = text(next_revision())
  redis.call('HSET', room_key, 'revision', revision,
    'participantCount', text(redis.call('HLEN', participants_key)))
  refresh(instant)
  publish('left', revision, text(last), instant, session, { user, name })
end

-- All of the room at this instant, or what changed in it after a position.
--
-- `mode` is 'fresh' (the newest messages and the whole board), 'now' (neither)
-- or 'after'. A position of another epoch, above the room's revision or before
-- the newest pruned tombstone cannot be served: then it is everything.
local function snapshot(mode, after_epoch, after_revision, limit)
  local reset, truncated = '0', '0'
  local messages, elements = {}, {}
  if mode == 'after' then
    local after = tonumber(after_revision)
    local current = tonumber(redis.call('HGET', room_key, 'revision'))
    if after_epoch ~= epoch or after > current or after < pruned then
      mode, reset = 'fresh', '1'
    else
      messages = messages_after(after, tonumber(limit))
      elements = elements_after(after)
      if trimmed > after then
        truncated = '1'
      end
    end
  end
  if mode == 'fresh' then
    messages = redis.call('LRANGE', messages_key, 0, limit - 1)
    elements = redis.call('HGETALL', board_key)
  end
  return {
    redis.call('HGETALL', room_key),
    text(redis.call('PEXPIRETIME', room_key)),
    text(math.floor(now / 1000)),
    redis.call('ZRANGE', arrivals_key, 0, -1),
    redis.call('HGETALL', participants_key),
    messages,
    elements,
    reset,
    truncated,
  }
end
