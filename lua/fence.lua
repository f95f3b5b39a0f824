--[[
fence — the first step of a recovery: nothing is decided, loaded or trimmed in the shard until it is
opened.

KEYS: 1
  1  meta     hash    epoch, seq, floor, fence, now
ARGV: 1
  1  token    text, the caller's fence token, used when the shard is not fenced yet
Returns   msgpack { token in force, epoch or 0, seq, floor }
Errors    none of its own
Cost      O(1)
Retry     safe: a fence that stands is kept
]]

local meta = read_meta(KEYS[1])
local token = meta.fence
if not token then
  token = ARGV[1]
  call('HSET', KEYS[1], 'fence', token)
end
return pack({ token, meta.epoch or 0, meta.seq, meta.floor })
