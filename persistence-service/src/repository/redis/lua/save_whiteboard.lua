-- Merges elements into the board.
-- ARGV: session, user, fingerprint, how long to keep the request (ms), most elements,
--       most bytes, how long tombstones are kept (us),
--       then for each element: id, version, nonce, '1' if it is a tombstone, JSON
--
-- An element wins if its version is greater, or equal with a lower nonce; on a
-- tie the stored one stays. This is Excalidraw's own rule.

local session, user, fingerprint, keep, most_elements, most_bytes, tombstone_age =
  unpack(ARGV, 1, 7)

if not epoch then
  return { 'gone' }
end

local count = redis.call('HLEN', board_key)
redis.call('ZCARD', changes_key)
redis.call('ZCARD', tombstones_key)
local same, outcome = recorded(fingerprint)
if same == false then
  return { 'conflict' }
end
if not same then
  local refusal = refused(session, user)
  if refusal then
    return { refusal }
  end
end

local ids = {}
for at = 8, #ARGV, 5 do
  ids[#ids + 1] = ARGV[at]
end
local stored = stored_elements(ids)
local board = redis.call('HMGET', room_key, 'boardBytes', 'boardOrdinal')
local bytes = tonumber(board[1]) or 0
local ordinal = tonumber(board[2]) or 0

local accepted, winners, in_change = {}, {}, {}
for i, id in ipairs(ids) do
  local at = 3 + i * 5
  local version, nonce = tonumber(ARGV[at + 1]), tonumber(ARGV[at + 2])
  local json = ARGV[at + 4]
  local old = stored[i]
  if not old then
    accepted[#accepted + 1] = { id, ARGV[at + 1], ARGV[at + 2], text(ordinal), ARGV[at + 3], json }
    ordinal = ordinal + 1
    count = count + 1
    bytes = bytes + #id + #json
    in_change[id] = true
  else
    local header, old_version, old_nonce, old_ordinal =
      string.match(old, '^((%d+):(%d+):%d+:(%d+) )')
    if not header then
      return redis.error_reply('DAMAGED an element of the board lacks its header')
    end
    old_version, old_nonce = tonumber(old_version), tonumber(old_nonce)
    if version > old_version or (version == old_version and nonce < old_nonce) then
      accepted[#accepted + 1] = { id, ARGV[at + 1], ARGV[at + 2], old_ordinal, ARGV[at + 3], json }
      bytes = bytes + #json - (#old - #header)
      in_change[id] = true
    elseif version < old_version or nonce > old_nonce then
      winners[#winners + 1] = id
      winners[#winners + 1] = old
    end
  end
end

if same then
  return { 'duplicate', epoch, outcome, winners }
end

local rejected = text(#winners / 2)
if #accepted == 0 then
  record(fingerprint, keep, '0 0 ' .. rejected)
  return { 'ok', epoch, '0', '0', rejected, winners }
end

-- Tombstones go when they are old, and sooner where the board needs the room.
local prunable = redis.call('ZRANGEBYSCORE', tombstones_key,
  '-inf', text(now - tonumber(tombstone_age)), 'LIMIT', 0, MOST_UNPACKED)
local old_ones = #prunable
most_elements, most_bytes = tonumber(most_elements), tonumber(most_bytes)
if count > most_elements or bytes > most_bytes then
  prunable = redis.call('ZRANGE', tombstones_key, 0, -1)
end
local gone = {}
for i, id in ipairs(prunable) do
  if i > old_ones and count <= most_elements and bytes <= most_bytes then
    break
  end
  if not in_change[id] then
    local value = redis.call('HGET', board_key, id) or ''
    local header = string.match(value, '^%S+ ') or ''
    gone[#gone + 1] = id
    count = count - 1
    bytes = bytes - #id - (#value - #header)
    pruned = math.max(pruned, tonumber(redis.call('ZSCORE', tombstones_key, id)))
  end
end
if count > most_elements or bytes > most_bytes then
  return { 'board_full' }
end

local revision = text(next_revision())
local instant, moved = expire_time()
local values, changes, dead, living = {}, {}, {}, {}
local body = { user }
for _, element in ipairs(accepted) do
  local id, version, nonce, place, deleted, json = unpack(element)
  local value = version .. ':' .. nonce .. ':' .. revision .. ':' .. place .. ' ' .. json
  values[#values + 1] = id
  values[#values + 1] = value
  changes[#changes + 1] = revision
  changes[#changes + 1] = id
  if deleted == '1' then
    dead[#dead + 1] = revision
    dead[#dead + 1] = id
  else
    living[#living + 1] = id
  end
  body[#body + 1] = id
  body[#body + 1] = value
end

redis.call('HSET', room_key, 'revision', revision, 'boardBytes', text(bytes),
  'boardOrdinal', text(ordinal), 'pruned', text(pruned))
call_in_parts('HDEL', board_key, gone)
call_in_parts('ZREM', changes_key, gone)
call_in_parts('ZREM', tombstones_key, gone)
call_in_parts('HSET', board_key, values)
call_in_parts('ZADD', changes_key, changes)
call_in_parts('ZADD', tombstones_key, dead)
call_in_parts('ZREM', tombstones_key, living)
local taken = text(#accepted)
record(fingerprint, keep, revision .. ' ' .. taken .. ' ' .. rejected)
refresh(instant, moved, 3, 5)
publish('board', revision, last_text, instant, session, body)

return { 'ok', epoch, revision, taken, rejected, winners }
