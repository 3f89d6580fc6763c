-- Saves a chat message.
-- ARGV: session, user, fingerprint, how long to keep the request (ms), message limit,
--       id, name, the message's JSON up to its timestamp, the JSON after its revision

local session, user, fingerprint, keep, limit, id, name, head, tail = unpack(ARGV)

if not epoch then
  return { 'gone' }
end

limit = tonumber(limit)
local kept = redis.call('LLEN', messages_key)
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

if kept >= limit then
  local dropped = redis.call('LINDEX', messages_key, limit - 1)
  trimmed = message_revision(dropped) or last
end
local revision = text(next_revision())
local timestamp = text(math.floor(tonumber(revision) / 1000))
local message = head .. timestamp .. ',"revision":' .. revision .. tail
local instant = expire_time()

redis.call('HSET', room_key, 'revision', revision, 'trimmed', text(trimmed))
redis.call('LPUSH', messages_key, message)
redis.call('LTRIM', messages_key, 0, limit - 1)
record(fingerprint, keep, revision .. ' ' .. id .. ' ' .. name)
refresh(instant)
publish('message', revision, text(last), instant, session, { message })

return { 'ok', epoch, revision }
