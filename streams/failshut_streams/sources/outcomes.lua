-- Bound streams of outcomes before anybody reads them, in one step with looking at them.
-- KEYS: streams. ARGV: entries at most, bytes at most. Returns, of each that holds something: index, entries, bytes; bytes
-- are -1 where the stream was over a bound, or was none, and is gone now.
local found = {}
for index, key in ipairs(KEYS) do
  local kind = redis.call('TYPE', key).ok
  if kind == 'stream' then
    local entries = redis.call('XLEN', key)
    if entries > 0 then
      local bytes = redis.call('MEMORY', 'USAGE', key) or 0
      if entries > tonumber(ARGV[1]) or bytes > tonumber(ARGV[2]) then
        redis.call('UNLINK', key)
        bytes = -1
      end
      found[#found + 1] = {index, entries, bytes}
    end
  elseif kind ~= 'none' then
    redis.call('UNLINK', key)
    found[#found + 1] = {index, 1, -1}
  end
end
return found
