-- Renews the leases of sessions, and says which of them the room does not know.
-- ARGV: lease (ms), sessions
--
-- A renewal never creates a session.

if not epoch then
  return { 'gone' }
end

if not presence_agrees() then
  forget_presence()
end
local unknown, known = {}, {}
local lease = text(math.floor(now / 1000) + ARGV[1])
for i = 2, #ARGV do
  if redis.call('HEXISTS', session_users_key, ARGV[i]) == 1 then
    known[#known + 1] = lease
    known[#known + 1] = ARGV[i]
  else
    unknown[#unknown + 1] = ARGV[i]
  end
end
renew(known)

return { 'ok', unknown, left_behind(ARGV[1]) }
