-- Compare and swap the seal of an evidence partition on its position. An older seal never wins, and none of a term that is over.
-- KEYS: seal, position, term
-- ARGV: position (16 digits: term * 2^40 + offset), term, token, kept_ms
-- Answers: written or older or differs, and the position that stood there ('' where there was none).
-- Of whatever is there no more is read than one of ours has, and one character, by which a longer one is told.
local function ours(key, digits)
  local value = redis.pcall('GETRANGE', key, 0, digits)
  if type(value) ~= 'string' or value == '' or #value > digits or string.find(value, '%D') then return nil end
  return value
end
local told = ours(KEYS[3], 4)
if told and tonumber(ARGV[2]) < tonumber(told) then return {'older', told} end
local there = ours(KEYS[2], 16)
if there and #there ~= 16 then there = nil end
if there and ARGV[1] < there then return {'older', there} end
if there == ARGV[1] then
  local token = redis.pcall('GETRANGE', KEYS[1], 0, #ARGV[3])
  -- The same seal again, or one that ran out. Two that differ are of monitors that do not decide alike.
  if type(token) == 'string' and token ~= '' and token ~= ARGV[3] then return {'differs', there} end
end
redis.call('SET', KEYS[3], ARGV[2])
redis.call('SET', KEYS[2], ARGV[1])
redis.call('SET', KEYS[1], ARGV[3], 'PXAT', ARGV[4])
return {'written', there or ''}
