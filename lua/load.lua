--[[
load — set the counters of missing subjects: what Postgres holds at its cursor, plus the outbox
after it. A repair does the same to subjects that are there, and leaves what Redis alone keeps.

KEYS: 3 + 2 a subject
  1  meta     hash    epoch, seq, floor, fence, now, profiles
  2  outbox   stream
  3  pending  hash    level's key -> seq of its last event
  …  for each subject its state and its profile, both strings
ARGV: 1 + subjects
  1  head     msgpack { epoch, cursor_seq, ended_after_ms, offset_ms, idle_ttl_s, chain_max,
              profiles: the version of the newest profile in the snapshot, repair: 1 or 0 }
  …  a subject, msgpack { depth, profile version, profile, reset_at_ms, field, used, field,
              used … } as one Postgres snapshot has it
Returns   msgpack { code, epoch, seq, now_ms, results }; a result is 0 already there (of a repair:
          not there), 1 set, 2 too many events pending. BEHIND: the snapshot is older than the
          trimmed part of the outbox or than a profile, read Postgres again. WRONG_CLOCK: counters
          that are current by Redis' time may be missing from the snapshot
Errors    none of its own
Cost      O(subjects x (fields + own events in the outbox)), bounded by chain_max events a subject
Retry     safe: a load leaves a subject alone that is there, a repair one that is not
]]

local RESET, RESERVE = 2, 4 -- kinds of events

local head = unpack_all(ARGV[1])
local epoch, cursor, is_repair = head[1], head[2], head[8] == 1
local meta = read_meta(KEYS[1])
local now = read_now(meta, head[4])

local function load_code()
  local code = shard_code(meta, epoch, cursor)
  if code ~= OK then return code end
  if cursor < meta.floor then return BEHIND end -- guard: floor_check
  local profiles = tonumber(call('HMGET', KEYS[1], 'profiles')[1]) or 0
  if head[7] < profiles then return BEHIND end -- guard: newest_profile
  if now < head[3] then return WRONG_CLOCK end
  return OK
end

local code = load_code()
if code ~= OK then return pack({ code, meta.epoch or 0, meta.seq, now, {} }) end

-- Whether a load takes a counter's units from the outbox. Postgres has what is not after the
-- cursor, but for counters of minutes and hours, which Redis alone keeps.
local function counts(field, is_pending)
  if not is_pending and not match(field, ':[nhNH]:') then return false end
  return not has_ended(field, math.floor(now / 1000))
end

-- Adds what one event of the outbox did to a counter, the latest event first. What came before the
-- outbox is unknown of a counter that Redis alone keeps. But it was never below zero, so it is at
-- least what the events since any instant add up to; since it was last at zero, that is exact.
local function add_units(subject, field, units)
  local used = subject.used[field] or 0
  if match(field, ':[nhNH]:') then
    local sum = (subject.sums[field] or 0) + units
    subject.sums[field], subject.used[field] = sum, math.max(used, sum)
  else
    subject.used[field] = used + units
  end
end

local function add_lines(subject, event, sheet, is_pending)
  -- A sheet with flags has the units of its event; others those of an amount of one.
  local times = sheet[6] and 1 or event[5]
  local suffix = event[2] == RESERVE and '@' .. format('%d', event[10]) or ''
  for _, line in ipairs(sheet[4]) do
    local field = line[2] .. suffix
    if line[1] == subject.depth and counts(field, is_pending) then
      add_units(subject, field, line[3] * times)
    end
  end
end

local function add_event(subject, entry, index, is_pending)
  local event = entry.events[index]
  local sheet = entry.sheets[event[1] + 1]
  if event[2] == RESET and sheet[5] == subject.depth and subject.reset_at < entry.now then
    subject.reset_at = entry.now
  end
  add_lines(subject, event, sheet, is_pending)
end

-- Follows the subject's events back from its last one: to the cursor, and as far beyond as the
-- outbox goes. 1 done, 2 too many, 3 broken.
local function add_tail(subject)
  local at = subject.last
  for _ = 1, head[6] do
    if at <= meta.floor then return 1 end
    local entry = entry_at(KEYS[2], epoch, at)
    if not entry then return 3 end
    local index = at - entry.first + 1
    add_event(subject, entry, index, at > cursor)
    at = link_of(entry, index, subject.depth)
  end
  if at <= cursor then return 1 end
  return 2
end

-- Counters of minutes and hours are in the state alone: a repair takes them as they are.
local function keep_own(subject, state)
  local values, now_s = { unpack_all(state) }, math.floor(now / 1000)
  for field in pairs(subject.used) do
    if match(field, ':[nhNH]:') then subject.used[field] = nil end
  end
  local at = E_FIELDS
  for field in gmatch(values[E_FIELDS], '%S+') do
    at = at + 1
    if match(field, ':[nhNH]:') and not has_ended(field, now_s) then
      subject.used[field] = values[at]
    end
  end
end

local function read_subject(place, given)
  local subject = {
    key = KEYS[place], depth = given[1], version = given[2], profile = given[3],
    reset_at = given[4], used = {}, sums = {},
  }
  local state = call('GET', subject.key)
  local is_there = state and unpack_all(state) == epoch
  if is_there ~= is_repair then return subject, 0 end
  local now_s = math.floor(now / 1000)
  for i = 5, #given, 2 do
    if not has_ended(given[i], now_s) then subject.used[given[i]] = given[i + 1] end
  end
  subject.last = tonumber(call('HGET', KEYS[3], subject.key)) or 0
  -- Without the guarded line a load must still answer something.
  local found = 1 -- luacheck: ignore 311
  found = add_tail(subject) -- guard: tail
  if is_repair then keep_own(subject, state) end
  return subject, found
end

local function write_subject(subject, profile_key)
  local now_s, fields = math.floor(now / 1000), {}
  local state = { epoch, subject.version, subject.last, cursor, now_s, subject.reset_at, '' }
  for field, used in pairs(subject.used) do
    -- What is held no more needs no counter.
    if used ~= 0 or not match(field, '@') then
      fields[#fields + 1] = field .. ' '
      state[#state + 1] = used
    end
  end
  state[E_FIELDS] = table.concat(fields)
  local ttl_s = format('%d', head[5])
  call('SET', subject.key, pack(unpack(state)), 'EX', ttl_s)
  if subject.version > 0 then
    call('SET', profile_key, pack(subject.version, subject.profile), 'EX', ttl_s)
  end
end

local subjects, results = {}, {}
for i = 1, #ARGV - 1 do
  local subject, found = read_subject(2 + 2 * i, unpack_all(ARGV[1 + i]))
  if found == 3 then return pack({ ROLLBACK, meta.epoch, meta.seq, now, {} }) end
  subjects[i], results[i] = subject, found
end
for i = 1, #subjects do
  if results[i] == 1 then write_subject(subjects[i], KEYS[3 + 2 * i]) end
end
return pack({ OK, epoch, meta.seq, now, results })
