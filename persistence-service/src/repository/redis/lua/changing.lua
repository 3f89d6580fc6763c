-- What every change needs: its revision, the room's end, the word to who listens.

local LARGEST_EVENT = 65536 -- Bytes; larger ones are told without their body.
local LEAST_RENEWAL = 1000 -- Milliseconds; or a hundredth of a short time to live.

-- The next revision: the clock, or one more than the last where the clock has
-- not moved past it.
local function next_revision()
  if last and last >= now then
    return last + 1
  end
  return now
end

-- The instant, in milliseconds, at which the room ends after this activity, and
-- whether that is another than before.
--
-- Ten keys are much to renew, so that is done when the end moves by a second or
-- more; in between it stays. A room never lives shorter by more than that.
local function expire_time()
  local wanted = math.floor(now / 1000) + ttl
  local set = redis.call('PEXPIRETIME', room_key)
  if set > 0 and wanted - set < math.min(LEAST_RENEWAL, ttl / 100) then
    return text(set), false
  end
  return text(wanted), true
end

-- Lets all keys of the room end at one instant; where it is the one that they
-- had, those keys that this script may have made, the first to the last of KEYS.
local function refresh(instant, moved, first, last_one)
  if moved then
    first, last_one = 1, 10
  end
  for i = first or 1, last_one or 0 do
    redis.call('PEXPIREAT', KEYS[i], instant)
  end
end

-- Tells an event to whoever listens: its fields, each as length, colon, bytes.
-- A failure to tell is no failure of the change; readers find the gap.
local function publish(kind, revision, previous, instant, session, body)
  local size = 0
  for i = 1, #body do
    size = size + #body[i]
  end
  if size > LARGEST_EVENT then
    kind, body = 'omitted', {}
  end
  local head = #kind .. ':' .. kind .. #epoch .. ':' .. epoch
    .. #revision .. ':' .. revision .. #previous .. ':' .. previous
    .. #instant .. ':' .. instant .. #session .. ':' .. session
  local told
  if #body == 1 then
    told = head .. #body[1] .. ':' .. body[1]
  else
    local parts = { head }
    for i = 1, #body do
      parts[3 * i - 1] = #body[i]
      parts[3 * i] = ':'
      parts[3 * i + 1] = body[i]
    end
    told = table.concat(parts)
  end
  redis.pcall('SPUBLISH', feed_channel, told)
end
