-- Bound streams of outcomes before anybody reads them, and say which are to be read now, in one step with looking at them.
-- KEYS: streams. ARGV: entries at most, bytes at most, then for each stream the milliseconds that what went well may wait.
-- Returns, of each that holds something: index, entries, bytes, 1 if it is to be read now; bytes are -1 where the stream was
-- over a bound, or was none, and is gone now.
-- A stream waits only if it is small, its oldest entry is young, and all in it went well: a failure, a probe and a loss are
-- read at once, and with them all that stands before them.
local LOOK_ENTRIES, LOOK_BYTES = 64, 65536
local time = redis.call('TIME')
local now_ms = time[1] * 1000 + math.floor(time[2] / 1000)

local function due(key, entries, bytes, wait_ms)
  if wait_ms <= 0 or entries > LOOK_ENTRIES or bytes > LOOK_BYTES then
    return 1
  end
  local found = redis.call('XRANGE', key, '-', '+', 'COUNT', LOOK_ENTRIES)
  local age_ms = now_ms - tonumber(string.match(found[1][1], '^%d+'))
  if age_ms >= wait_ms or age_ms < 0 then -- the store's clock may have been stepped back
    return 1
  end
  for _, entry in ipairs(found) do
    local said = entry[2]
    for at = 1, #said, 2 do
      local name, value = said[at], said[at + 1]
      if (name == 'outcome' and value ~= 'ok' and value ~= 'cancelled')
        or (name == 'token' and value ~= '') or (name == 'lost' and value ~= '0') then
        return 1
      end
    end
  end
  return 0
end

local found = {}
for index, key in ipairs(KEYS) do
  local kind = redis.call('TYPE', key).ok
  if kind == 'stream' then
    local entries = redis.call('XLEN', key)
    if entries > 0 then
      local bytes = redis.call('MEMORY', 'USAGE', key) or 0
      local now = 1
      if entries > tonumber(ARGV[1]) or bytes > tonumber(ARGV[2]) then
        redis.call('UNLINK', key)
        bytes = -1
      else
        now = due(key, entries, bytes, tonumber(ARGV[2 + index]))
      end
      found[#found + 1] = {index, entries, bytes, now}
    end
  elseif kind ~= 'none' then
    redis.call('UNLINK', key)
    found[#found + 1] = {index, 1, -1, 1}
  end
end
return found
