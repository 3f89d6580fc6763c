-- Tells a transient signal to whoever listens; stores nothing.
-- ARGV: session, user, name, kind, JSON

local session, user, name, kind, json = unpack(ARGV)

if not epoch then
  return { 'gone' }
end
local refusal = refused(session, user)
if refusal then
  return { refusal }
end

publish('signal', '0', '0', '0', session, { user, name, kind, json })

return { 'ok' }
