-- Compare and swap a gate's record on (epoch, offset). Old authority never wins; on a tie a closing does.
-- KEYS: fence, record, probes, probed, status
-- ARGV: epoch, offset (16 digits each), kind, token, exp_ms ('0': never), probe epoch, status, channel, push, probe tokens...
local function refused(why) return {'refused', why} end
local epoch, offset, kind, exp_ms = ARGV[1], ARGV[2], ARGV[3], ARGV[5]
local fence = redis.pcall('HMGET', KEYS[1], 'epoch', 'offset', 'kind')
if fence.err or (fence[1] or fence[2] or fence[3]) and not (fence[1] and fence[2] and fence[3]) then
  -- Not a fence of ours: nothing opens over it, and a closing puts it right.
  if kind ~= 'closing' then return refused('') end
  redis.call('DEL', KEYS[1])
elseif fence[1] then
  local there, here = fence[1] .. fence[2], epoch .. offset
  if here < there then return refused(fence[1]) end
  if here == there and fence[3] == 'closing' and kind ~= 'closing' then return refused(fence[1]) end
end
if kind == 'closing' then
  -- First what takes no memory: a store that is full still says it to every guard, and the write is repeated until it is taken.
  redis.call('DEL', KEYS[3])
  redis.call('PUBLISH', ARGV[8], ARGV[9])
end
redis.call('HSET', KEYS[1], 'epoch', epoch, 'offset', offset, 'kind', kind)
redis.call('SET', KEYS[5], ARGV[7])
if kind == 'closing' then
  redis.call('SET', KEYS[2], ARGV[4])
  return {'written', epoch}
end
redis.call('SET', KEYS[2], ARGV[4], 'PXAT', exp_ms)
-- Probe tokens are written once for a PROVING: lost ones stay lost.
if #ARGV > 9 then
  local probed = redis.pcall('GET', KEYS[4])
  if type(probed) ~= 'string' or probed < ARGV[6] then
    redis.call('SET', KEYS[4], ARGV[6])
    redis.call('DEL', KEYS[3])
    for n = 10, #ARGV do redis.call('RPUSH', KEYS[3], ARGV[n]) end
  end
end
return {'written', epoch}
