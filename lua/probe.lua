--[[
probe — after a lost connection: is the last event that this node saw acknowledged still there?

KEYS: 2
  1  meta     hash    epoch, seq, floor, fence, now
  2  outbox   stream
ARGV: 3
  1  epoch     integer, the epoch of the event
  2  seq       integer, the event's place
  3  event_id  16 bytes
Returns   msgpack { code, epoch, seq, 1 or 0 }: 1 when the event is in the outbox, or was trimmed
          after its commit
Errors    none of its own
Cost      O(1)
Retry     safe: writes nothing
]]

local epoch, seq = tonumber(ARGV[1]), tonumber(ARGV[2])
local meta = read_meta(KEYS[1])
local code = shard_code(meta, epoch, seq)
local found = 0
if code == OK then
  local entry = seq > meta.floor and entry_at(KEYS[2], epoch, seq)
  local event = entry and entry.events[seq - entry.first + 1]
  if seq <= meta.floor or (event and event[3] == ARGV[3]) then found = 1 end
end
return pack({ code, meta.epoch or 0, meta.seq, found })
