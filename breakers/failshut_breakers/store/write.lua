-- Compare and swap a gate's record on (epoch, offset). Old authority never wins; on a tie a closing does.
-- KEYS: fence, record, probes, probed, status
-- ARGV: epoch, offset (16 digits each), kind, token, exp_ms ('0': never), probe epoch, status, channel, push, probe tokens...
local epoch, offset, kind, exp_ms = ARGV[1], ARGV[2], ARGV[3], ARGV[5]
-- An epoch is term * 2^40 + the offset of the decision that last changed the gate: 16 digits below 2^53, and no later in the
-- log than the decision beside it.
local function ours(fence)
  local at, offset, kind = fence[1], fence[2], fence[3]
  if not (at and offset and (kind == 'permit' or kind == 'closing')) then return false end
  if #at ~= 16 or #offset ~= 16 or string.find(at .. offset, '%D') then return false end
  at, offset = tonumber(at), tonumber(offset)
  return at < 2 ^ 53 and offset < 2 ^ 40 and at % 2 ^ 40 <= offset
end
-- Whoever may write to the store may write fields of any length: none is read that is longer than ours.
local fence = {}
for at, name in ipairs({'epoch', 'offset', 'kind'}) do
  local length = redis.pcall('HSTRLEN', KEYS[1], name)
  if type(length) ~= 'number' or length > 16 then
    fence = {err = 'not a fence'}
    break
  end
  fence[at] = redis.call('HGET', KEYS[1], name)
end
if fence.err or (fence[1] or fence[2] or fence[3] or redis.call('EXISTS', KEYS[1]) == 1) and not ours(fence) then
  -- Not a fence of any monitor: nothing opens over it, and a closing puts it right.
  if kind ~= 'closing' then return {'refused', '', ''} end
  redis.call('UNLINK', KEYS[1])
elseif fence[1] then
  local there, here = fence[1] .. fence[2], epoch .. offset
  if here < there or here == there and fence[3] == 'closing' and kind ~= 'closing' then
    return {'refused', fence[1], fence[2]}
  end
end
if kind == 'closing' then
  -- First what takes no memory: it is done in a store that is full and knows no flags, too, and what follows a write in a script
  -- is not refused for lack of memory.
  redis.call('UNLINK', KEYS[3])
  redis.call('PUBLISH', ARGV[8], ARGV[9])
end
redis.call('HSET', KEYS[1], 'epoch', epoch, 'offset', offset, 'kind', kind)
redis.call('SET', KEYS[5], ARGV[7])
if kind == 'closing' then
  redis.call('SET', KEYS[2], ARGV[4])
  return {'written', epoch, offset}
end
redis.call('SET', KEYS[2], ARGV[4], 'PXAT', exp_ms)
-- Probe tokens are written once for a PROVING: lost ones stay lost. A PROVING later than the permit that brings them was begun by
-- no monitor: what says so would keep tokens out for good.
if #ARGV > 9 then
  local probed = redis.pcall('GETRANGE', KEYS[4], 0, 16)
  if type(probed) ~= 'string' or probed < ARGV[6] or probed > epoch then
    redis.call('SET', KEYS[4], ARGV[6])
    redis.call('UNLINK', KEYS[3])
    for n = 10, #ARGV do redis.call('RPUSH', KEYS[3], ARGV[n]) end
  end
end
return {'written', epoch, offset}
