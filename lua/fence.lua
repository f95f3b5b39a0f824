--[[
fence — the first step of a recovery: nothing is decided, loaded or trimmed in the shard until it is
opened.

KEYS: 1
  1  meta     hash    epoch, seq, floor, fence, fault, fault_epoch, fault_seq, now
ARGV: 4
  1  token    text, the caller's fence token, used when the shard is not fenced yet
  2  fault    text, what the caller met
  3  epoch    integer, the epoch in which it met the fault
  4  seq      integer, the highest place that it saw given out in that epoch
Returns   msgpack { token in force, epoch or 0, seq, floor, fault, fault epoch, fault seq }; the
          token is '' when the shard is open under a later epoch than the fault's: it was recovered
Errors    none of its own
Cost      O(1)
Retry     safe: a fence that stands is kept
]]

local meta = read_meta(KEYS[1])
local fault, epoch, seq = ARGV[2], tonumber(ARGV[3]), tonumber(ARGV[4])

-- What was met stands with the fence, since whoever finishes the recovery may know less. Of two
-- faults a rollback says most about the loss, and a fence nothing.
local function join_known()
  local known = call('HMGET', KEYS[1], 'fault', 'fault_epoch', 'fault_seq')
  local known_epoch, known_seq = tonumber(known[2]), tonumber(known[3])
  if known[1] ~= 'fenced' and fault ~= 'rollback' then fault = known[1] end
  if known_epoch > epoch then
    epoch, seq = known_epoch, known_seq
  elseif known_epoch == epoch then
    seq = math.max(seq, known_seq)
  end
end

local function answer(token)
  return pack({ token, meta.epoch or 0, meta.seq, meta.floor, fault, epoch, seq })
end

if not meta.fence and meta.epoch and meta.epoch > epoch then return answer('') end
if meta.fence then join_known() end
local token = meta.fence or ARGV[1]
call(
  'HSET', KEYS[1], 'fence', token, 'fault', fault, 'fault_epoch', format('%.0f', epoch),
  'fault_seq', format('%.0f', seq)
)
return answer(token)
