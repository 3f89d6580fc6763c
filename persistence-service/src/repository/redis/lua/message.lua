-- The revision of a stored message, as it is written. Inside a text the quotes are
-- escaped, so only the field itself matches.
local function message_revision(message)
  return string.match(message, ',"revision":(%d+)')
end
