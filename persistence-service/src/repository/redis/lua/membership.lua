-- Who may act.

-- Why this session may not act for this user, or nothing. A trusted backend
-- acts without a session.
local function refused(session, user)
  if session == '' then
    return nil
  end
  local owner = redis.call('HGET', session_users_key, session)
  if not owner then
    return 'not_joined'
  end
  if owner ~= user then
    return 'identity_mismatch'
  end
  return nil
end
