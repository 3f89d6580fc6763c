-- Deletes the room with all its keys and tells its readers.

if not epoch then
  return { 'gone' }
end

local created = redis.call('HGET', room_key, 'createdAt') or '0'
for i = 1, 10 do
  redis.call('DEL', KEYS[i])
end
publish('deleted', text(next_revision()), last_text, text(math.floor(now / 1000)), '', {})

return { 'ok', created }
