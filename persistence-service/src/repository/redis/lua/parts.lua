-- Commands of many values.

local MOST_UNPACKED = 500 -- Lua's stack holds a few thousand values, not more.

-- Calls a command with a key and any number of values, a part at a time.
local function call_in_parts(command, key, values)
  for first = 1, #values, MOST_UNPACKED do
    redis.call(command, key,
      unpack(values, first, math.min(first + MOST_UNPACKED - 1, #values)))
  end
end

-- The stored elements of these ids, `false` where there is none.
local function stored_elements(ids)
  local stored = {}
  for first = 1, #ids, MOST_UNPACKED do
    local part = redis.call('HMGET', board_key,
      unpack(ids, first, math.min(first + MOST_UNPACKED - 1, #ids)))
    for i = 1, #part do
      stored[first + i - 1] = part[i]
    end
  end
  return stored
end
