--[[
open — the last step of a recovery: a new epoch begins, with an empty outbox. Counters of other
epochs are stale by comparison; nothing is scanned or deleted.

KEYS: 3
  1  meta     hash    epoch, seq, floor, fence, fault, fault_epoch, fault_seq, now
  2  outbox   stream
  3  pending  hash    level's key -> seq of its last event
ARGV: 3
  1  token     text, the fence token under which Postgres salvaged the outbox
  2  epoch     integer, the new epoch, as Postgres has it
  3  instance  text, the uuid of the Postgres database this shard belongs to
Returns   1 opened or open already, 0 when another fence stands (the outbox was not the one that was
          salvaged)
Errors    none of its own
Cost      O(entries in the outbox)
Retry     safe
]]

local LAYOUT = 3 -- of the keys of a shard; a node that reads another does not start

local token, epoch, instance = ARGV[1], tonumber(ARGV[2]), ARGV[3]
local meta = read_meta(KEYS[1])
if not meta.fence and meta.epoch == epoch then return 1 end
if meta.fence ~= token then return 0 end -- guard: fence
-- The fence of the first epoch may be asked for again after its opening: what was accepted since
-- stays.
if meta.epoch ~= epoch then
  call(
    'HSET', KEYS[1], 'epoch', epoch, 'seq', 0, 'floor', 0, 'instance', instance, 'version', LAYOUT
  )
  call('XTRIM', KEYS[2], 'MINID', '=', format('%.0f-0', epoch))
  call('UNLINK', KEYS[3])
end
call('HDEL', KEYS[1], 'fence', 'fault', 'fault_epoch', 'fault_seq')
return 1
