-- What every script of a room begins with: its keys, its clock, its state.
--
-- Redis does not roll a script back. Each script therefore reads and type-checks
-- every key that it is going to touch, decides, and only then writes: nothing
-- after the first write may raise. Numbers become text by `text` alone, because
-- Lua's own conversion writes large ones with an exponent.
--
-- A function is made anew in each run of a script, so what only some scripts need
-- stands in files of its own.

local room_key, messages_key, board_key, changes_key, tombstones_key,
      participants_key, arrivals_key, sessions_key, session_users_key,
      user_sessions_key, request_key, feed_channel = unpack(KEYS)

local MOST_MILLISECONDS = 1e12 -- Thirty years: a lease without an end is as long.

local clock = redis.call('TIME')
local now = clock[1] * 1000000 + clock[2]

local state = redis.call('HMGET', room_key,
  'epoch', 'revision', 'ttl', 'trimmed', 'pruned')
local epoch = state[1]
-- The revision as it is written, and as a number.
local last_text = state[2]
local last = tonumber(last_text)
local ttl = tonumber(state[3])
local trimmed = tonumber(state[4]) or 0
local pruned = tonumber(state[5]) or 0

if epoch and not (tonumber(epoch) and last and ttl) then
  return redis.error_reply('DAMAGED the room hash lacks its epoch, revision or ttl')
end

local function text(number)
  return string.format('%.0f', number)
end
