-- The room as readers are given it.

-- The messages after a revision, newest first, at most `limit`.
local function messages_after(revision, limit)
  local newer = {}
  for first = 0, limit - 1, 20 do
    local part = redis.call('LRANGE', messages_key, first, math.min(first + 20, limit) - 1)
    for _, message in ipairs(part) do
      local at = tonumber(message_revision(message))
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

-- What the server says of its history where somebody reads on from a position,
-- which may be of another one; else, and where that may not be asked, nothing.
local function history(mode)
  if mode ~= 'after' then
    return ''
  end
  local told = redis.pcall('INFO', 'replication')
  if type(told) ~= 'string' then
    return ''
  end
  return told
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
