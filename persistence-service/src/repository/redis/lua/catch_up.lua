-- Reads the room at this instant, or what changed in it after a position.
-- ARGV: mode, after epoch, after revision, message limit

if not epoch then
  return { 'gone' }
end

return { 'ok', snapshot(unpack(ARGV)), history(ARGV[1]), text(now) }
