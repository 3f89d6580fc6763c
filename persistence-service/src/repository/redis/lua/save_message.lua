-- Saves a chat message.
-- ARGV: session, user, fingerprint, how long to keep the request (ms), message limit,
--       id, name, the message's JSON up to its timestamp, the JSON after its revision

local session, user, fingerprint, keep, limit, id, name, head, tail = unpack(ARGV)

if not epoch then
  return { 'gone' }
end

limit = tonumber(limit)
local same, outcome = recorded(fingerprint)
if same then
  return { 'duplicate', epoch, outcome }
elseif same == false then
  return { 'conflict' }
end
local refusal = refused(session, user)
if refusal then
  return { refusal }
end

local revision = text(next_revision())
local timestamp = string.sub(revision, 1, -4) -- Milliseconds of microseconds.
local message = head .. timestamp .. ',"revision":' .. revision .. tail
local instant, moved = expire_time()

-- First of all writes: where the list is none, nothing has been written.
local kept = redis.call('LPUSH', messages_key, message)
if kept > limit then
  -- The newest of those that it pushes out comes last.
  local dropped = redis.call('RPOP', messages_key, kept - limit)
  redis.call('HSET', room_key, 'revision', revision,
    'trimmed', message_revision(dropped[#dropped]) or last_text)
else
  redis.call('HSET', room_key, 'revision', revision)
end
record(fingerprint, keep, revision .. ' ' .. id .. ' ' .. name)
if kept == 1 then
  refresh(instant, moved, 2, 2)
else
  refresh(instant, moved)
end
publish('message', revision, last_text, instant, session, { message })

return { 'ok', epoch, revision }
