--[[
settle — after a flush: trim the outbox up to a committed event, and forget subjects whose counters
hold an event that Postgres dropped as a duplicate, so that they load again.

KEYS: 3 + subjects
  1  meta     hash    epoch, seq, floor, fence, now, sweep
  2  outbox   stream
  3  pending  hash    level's key -> seq of its last event
  …  states of subjects to forget, strings
ARGV: 3
  1  epoch        integer, the epoch of the cursor
  2  cursor_seq   integer, the cursor that is committed in Postgres
  3  trim_seq     integer, the last event to trim; at most cursor_seq
Returns   msgpack { code, epoch, seq, floor }
Errors    BADARG when trim_seq is after cursor_seq (I4)
Cost      O(trimmed entries + subjects), and a sweep of twice as many pending levels as events went,
          SWEEP_MAX at most
Retry     safe
]]

local SWEEP_MAX = 10000 -- levels in one call
local FIELDS_MAX = 1000 -- arguments of one HDEL

local epoch, cursor, trim = tonumber(ARGV[1]), tonumber(ARGV[2]), tonumber(ARGV[3])
local too_far = 'BADARG trim_seq is after cursor_seq'
if trim > cursor then return redis.error_reply(too_far) end -- guard: trim_after_commit
local meta = read_meta(KEYS[1])
local code = shard_code(meta, epoch, cursor)
if code ~= OK then return pack({ code, meta.epoch or 0, meta.seq, meta.floor }) end

for i = 4, #KEYS do
  local state = call('GET', KEYS[i])
  local base = state and select(E_BASE, unpack_all(state))
  if base and base <= cursor then call('DEL', KEYS[i]) end
end
-- Forgets levels whose last event is trimmed. What is not swept yet does no harm: a load finds that
-- nothing is pending. With two looked at for each event that goes, at most half of them are such.
local function sweep(count)
  local from = call('HGET', KEYS[1], 'sweep') or '0'
  local found = call('HSCAN', KEYS[3], from, 'COUNT', format('%d', count))
  local names, gone = found[2], {}
  for i = 1, #names, 2 do
    if tonumber(names[i + 1]) <= trim then gone[#gone + 1] = names[i] end
  end
  for i = 1, #gone, FIELDS_MAX do
    call('HDEL', KEYS[3], unpack(gone, i, math.min(#gone, i + FIELDS_MAX - 1)))
  end
  call('HSET', KEYS[1], 'sweep', found[1])
end

if trim > meta.floor then
  call('XTRIM', KEYS[2], 'MINID', '=', format('%.0f-%.0f', epoch, trim + 1))
  call('HSET', KEYS[1], 'floor', format('%.0f', trim))
  sweep(math.min(SWEEP_MAX, 2 * (trim - meta.floor) + 10))
  meta.floor = trim
end
return pack({ OK, epoch, meta.seq, meta.floor })
