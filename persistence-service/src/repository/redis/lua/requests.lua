-- Requests that are safe to repeat.

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
  if tonumber(keep) > ttl then
    keep = text(ttl)
  end
  redis.call('SET', request_key, epoch .. ' ' .. fingerprint .. ' ' .. outcome, 'PX', keep)
end
