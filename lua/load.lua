--[[
load — set the counters of missing subjects: what Postgres holds at its cursor, plus the outbox
after it.

KEYS: 3 + subjects
  1  meta     hash    epoch, seq, floor, fence, now
  2  outbox   stream
  3  pending  zset    subject key -> seq of its last event
  …  subject hashes
ARGV: 1
  1  head     msgpack { epoch, cursor_seq, ended_after_ms, offset_ms, idle_ttl_s, chain_max,
              subjects }; a subject is { depth, profile version, reset_at_ms, field, used, field,
              used … } as one Postgres snapshot has it
Returns   msgpack { code, epoch, seq, now_ms, results }; a result is 0 already there, 1 loaded,
          2 too many events pending. BEHIND: the snapshot is older than the trimmed part of the
          outbox, read Postgres again. WRONG_CLOCK: counters that are current by Redis' time may be
          missing from the snapshot
Errors    none of its own
Cost      O(subjects x (fields + own pending events)), bounded by chain_max events a subject
Retry     safe: a subject that is there is left alone
]]

local head = unpack_all(ARGV[1])
local epoch, cursor = head[1], head[2]
local meta = read_meta(KEYS[1])
local now = read_now(meta, head[4])

local function load_code()
  local code = shard_code(meta, epoch, cursor)
  if code ~= OK then return code end
  if cursor < meta.floor then return BEHIND end -- guard: floor_check
  if now < head[3] then return WRONG_CLOCK end
  return OK
end

local code = load_code()
if code ~= OK then return pack({ code, meta.epoch or 0, meta.seq, now, {} }) end

-- Adds what one pending event did to the level at `depth`.
local function add_event(subject, entry, index)
  local event = entry.events[index]
  local sheet = entry.sheets[event[1] + 1]
  if event[2] == 2 and subject.reset_at < entry.now then subject.reset_at = entry.now end
  for i = 1, #sheet[4] do
    local line = sheet[4][i]
    if line[1] == subject.depth and line[5] * 1000 > now then
      subject.used[line[2]] = (subject.used[line[2]] or 0) + line[3]
    end
  end
end

-- Follows the subject's events back from its last one to the cursor. 1 done, 2 too many, 3 broken.
local function add_tail(subject)
  local at = subject.last
  for _ = 1, head[6] do
    if at <= cursor then return 1 end
    local entry = entry_at(KEYS[2], epoch, at)
    if not entry then return 3 end
    local index = at - entry.first + 1
    add_event(subject, entry, index)
    at = entry.prevs[index][subject.depth] or 0
  end
  if at <= cursor then return 1 end
  return 2
end

local function read_subject(place, given)
  local subject = {
    key = KEYS[place], depth = given[1], version = given[2], reset_at = given[3], used = {},
  }
  if tonumber(call('HGET', subject.key, 'e')) == epoch then return subject, 0 end
  for i = 4, #given, 2 do subject.used[given[i]] = given[i + 1] end
  subject.last = tonumber(call('ZSCORE', KEYS[3], subject.key)) or 0
  -- Without the guarded line a load must still answer something.
  local found = 1 -- luacheck: ignore 311
  found = add_tail(subject) -- guard: tail
  return subject, found
end

local function write_subject(subject)
  local now_s = math.floor(now / 1000)
  local arguments = {
    'e', epoch, 'v', subject.version, 'o', subject.last, 'b', cursor, 't', now_s,
    'z', subject.reset_at,
  }
  for field, used in pairs(subject.used) do
    arguments[#arguments + 1] = field
    arguments[#arguments + 1] = used
  end
  -- The first write of a script must be one that Redis refuses when its memory is full: it lets all
  -- later ones pass, and a DEL always.
  call('HSET', subject.key, 'e', epoch)
  call('DEL', subject.key)
  call('HSET', subject.key, unpack(arguments))
  call('EXPIRE', subject.key, head[5])
end

local subjects, results = {}, {}
for i = 1, #head[7] do
  local subject, found = read_subject(3 + i, head[7][i])
  if found == 3 then return pack({ ROLLBACK, meta.epoch, meta.seq, now, {} }) end
  subjects[i], results[i] = subject, found
end
for i = 1, #subjects do
  if results[i] == 1 then write_subject(subjects[i]) end
end
return pack({ OK, epoch, meta.seq, now, results })
