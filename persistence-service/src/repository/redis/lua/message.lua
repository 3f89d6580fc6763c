-- The revision of a stored message, as it is written. Inside a text the quotes are
-- escaped, so only the field itself matches.
local function message_revision(message)
  -- Found as plain text first: a pattern is tried anew at each byte.
  local _, stop = string.find(message, ',"revision":', 1, true)
  return stop and string.match(message, '^%d+', stop + 1)
end
