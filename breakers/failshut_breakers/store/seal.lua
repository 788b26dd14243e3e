-- Compare and swap the seal of an evidence partition on its position. An older seal never wins, and none of a term that is over.
-- KEYS: seal, position, term
-- ARGV: position (16 digits: term * 2^40 + offset), term, token, kept_ms
-- Answers: written or older or differs, and the position that stood there ('' where there was none).
local function ours(value)
  if type(value) ~= 'string' or #value ~= 16 or string.find(value, '%D') then return nil end
  return value
end
local told = redis.pcall('GET', KEYS[3])
local term = type(told) == 'string' and #told <= 4 and not string.find(told, '%D') and tonumber(told) or 0
if tonumber(ARGV[2]) < term then return {'older', told} end
local there = ours(redis.pcall('GET', KEYS[2]))
if there and ARGV[1] < there then return {'older', there} end
if there == ARGV[1] then
  local token = redis.pcall('GET', KEYS[1])
  -- The same seal again, or one that ran out. Two that differ are of monitors that do not decide alike.
  if type(token) == 'string' and token ~= ARGV[3] then return {'differs', there} end
end
redis.call('SET', KEYS[3], ARGV[2])
redis.call('SET', KEYS[2], ARGV[1])
redis.call('SET', KEYS[1], ARGV[3], 'PXAT', ARGV[4])
return {'written', there or ''}
