--[[
consume — decide up to 64 requests of one shard, in order and each on its own: add units to every
limit of a subject path or to none, look without adding, or clear counters. One outbox entry holds
all accepted events.

KEYS: 3 + distinct keys of the requests
  1  meta     hash    epoch, seq, floor, fence, now
  2  outbox   stream
  3  pending  zset    subject key -> seq of its last event that may not be trimmed yet
  …  subject hashes and idempotency records, named by index in the requests
ARGV: 1 + sheets + requests
  1  head     msgpack { epoch, seen_seq, offset_ms, idempotency_ttl_s, idle_ttl_s,
              outbox_events_max, chain_max, sheets, requests }; a request is { kind (0 look, 1 add,
              2 clear), sheet, record key or 0, fingerprint, seq seen before a first attempt of
              unknown fate or -1, request id, then for each level: key or 0, profile version }
  …  a sheet  msgpack { start_ms, end_ms, plan, { { depth, field, units, ceiling or -1,
              end_s } … } } or, to clear, { start_ms, end_ms, metric or '', depth,
              { { letter, start_s, end_s } … } }
  …  an event msgpack, opaque but for its sheet's number (byte 2) and its id (bytes 5 to 20)
Returns   msgpack { code, epoch, seq, now_ms, results }; a result is { outcome, … }:
          REFUSED, 0, used … | ACCEPTED, seq, used after … (added)
          ACCEPTED, reset_at_ms, used … (looked at) | ACCEPTED, seq, sheet (cleared)
          REPLAYED, record | LOAD, depth | STALE, depth | others alone
Errors    BADARG (caller bug, not retried)
Cost      O(requests x limits): one HMGET and one HSET a subject level, one XADD, one ZADD, one SET
          a record
Retry     safe with the same event id and the seq seen before the first attempt
]]

local char = string.char
local head = unpack_all(ARGV[1])
local epoch, requests = head[1], head[9]
local meta = read_meta(KEYS[1])
local now = read_now(meta, head[3])
local code = shard_code(meta, epoch, head[2])
if code ~= OK then return pack({ code, meta.epoch or 0, meta.seq, now, {} }) end

local sheets = {}
for i = 1, head[8] do sheets[i] = unpack_all(ARGV[1 + i]) end
local seq = meta.seq
local states, dirty = {}, {} -- by key index; dirty in order of the first touch
local stored, fresh, fresh_keys = {}, {}, {} -- idempotency records, found and new
local events, prevs, made_sheets = {}, {}, {} -- what the outbox entry will hold

local function read_records()
  local names, places = {}, {}
  for i = 1, #requests do
    local place = requests[i][3]
    if place > 0 then
      names[#names + 1] = KEYS[place]
      places[#places + 1] = place
    end
  end
  if #names == 0 then return end
  local got = call('MGET', unpack(names))
  for i = 1, #places do stored[places[i]] = got[i] end
end

local function add_field(state, field, value)
  if not value then state.opens_window = true end
  state.used[field] = tonumber(value) or 0
end

-- What is read of a level: the same for all requests that share a sheet, so worked out once.
local known_fields = {}
local function fields_of(lines, depth)
  local by_depth = known_fields[lines] or {}
  known_fields[lines] = by_depth
  local fields = by_depth[depth]
  if fields then return fields end
  fields = { 'e', 'v', 'o', 't', 'z' }
  for i = 1, #lines do
    if lines[i][1] == depth then fields[#fields + 1] = lines[i][2] end
  end
  by_depth[depth] = fields
  return fields
end

local function read_state(place, lines, depth)
  local key, fields = KEYS[place], fields_of(lines, depth)
  local got = call('HMGET', key, unpack(fields))
  local last = tonumber(got[3]) or 0
  local state = {
    key = key, epoch = tonumber(got[1]), version = tonumber(got[2]) or 0, last = last,
    stored_last = last, touched_s = tonumber(got[4]) or 0, reset_at = tonumber(got[5]) or 0,
    used = {}, changed = {}, dirty = false, opens_window = false, was_reset = false,
  }
  for i = 6, #fields do add_field(state, fields[i], got[i]) end
  states[place] = state
  return state
end

local function state_of(place, lines, depth)
  local state = states[place]
  if not state then return read_state(place, lines, depth) end
  for i = 1, #lines do
    local field = lines[i][2]
    if lines[i][1] == depth and not state.used[field] then
      add_field(state, field, call('HGET', state.key, field))
    end
  end
  return state
end

-- The result that sends the caller away before the limits are looked at, or nil.
local function not_ready(request, lines)
  local depth = 0
  for i = 7, #request, 2 do
    depth = depth + 1
    if request[i] > 0 then
      local state = state_of(request[i], lines, depth)
      if not state.epoch then return { LOAD, depth } end
      if state.epoch ~= epoch then return { LOAD, depth } end -- guard: epoch_in_counter
      if request[i + 1] < state.version then return { STALE, depth } end -- guard: profile_version
    end
  end
end

local function recorded(request)
  local record = fresh[request[3]] or stored[request[3]]
  if not record then return nil end
  if sub(record, 1, 8) ~= request[4] then return { MISMATCH } end
  return { REPLAYED, record }
end

-- Whether an earlier attempt at this operation was applied: its seq, false, or nil when that cannot
-- be told.
local function earlier_attempt(request, event)
  local since, depth = request[5], 0
  if since < 0 then return false end
  local event_id = sub(event, 5, 20)
  for i = 7, #request, 2 do
    depth = depth + 1
    if request[i] > 0 then
      local at = states[request[i]].stored_last
      for _ = 1, head[7] do
        if at <= since then return false end
        local entry = entry_at(KEYS[2], epoch, at)
        if not entry then return nil end
        local index = at - entry.first + 1
        if entry.events[index][3] == event_id then return at end
        at = entry.prevs[index][depth] or 0
      end
      return nil
    end
  end
  return false
end

local function touch(place, depth, links)
  local state = states[place]
  if not state.dirty then
    state.dirty = true
    dirty[#dirty + 1] = state
  end
  links[depth] = state.last
  state.last = seq
end

-- Gives an accepted request its place in the outbox.
local function append(request, event)
  seq = seq + 1
  local links, depth = {}, 0
  for i = 7, #request, 2 do
    depth = depth + 1
    links[depth] = 0
    if request[i] > 0 then touch(request[i], depth, links) end
  end
  events[#events + 1] = event
  prevs[#prevs + 1] = links
end

local function place_of(request, depth) return request[5 + 2 * depth] end

-- The counters as they are, in the order of the lines, and whether all ceilings hold what would be
-- added.
local function measure(request, lines)
  local result, fits = { REFUSED, 0 }, true
  for i = 1, #lines do
    local line = lines[i]
    local used = states[place_of(request, line[1])].used[line[2]]
    local after = used + line[3]
    local over = after > UNITS_MAX or (line[4] >= 0 and after > line[4])
    if line[3] > 0 and over then fits = false end
    result[i + 2] = used
  end
  return result, fits
end

local function add(request, lines, result)
  for i = 1, #lines do
    local line = lines[i]
    local state = states[place_of(request, line[1])]
    local after = state.used[line[2]] + line[3]
    state.used[line[2]] = after
    state.changed[line[2]] = true
    result[i + 2] = after
  end
end

local function record(request, event, result)
  local place = request[3]
  if place == 0 then return end
  -- An array's head, then its items: the bytes of a packed table, without making the table.
  local length = 2 + #result
  local array_head = length < 16 and char(0x90 + length) or char(0xdc, 0, length)
  local id, sheet = sub(event, 5, 20), ARGV[1 + request[2]]
  fresh[place] = request[4] .. array_head .. pack(id, request[6], now, sheet, unpack(result, 3))
  fresh_keys[#fresh_keys + 1] = place
end

-- The answer to a look: what add would say, and when the subject itself was last cleared.
local function look(request, result, fits)
  if fits then result[1] = ACCEPTED end
  local state = states[place_of(request, (#request - 6) / 2)]
  result[2] = state and state.reset_at or 0
  return result
end

local function full() return seq - meta.floor >= head[6] end

local function decide(request, event)
  local earlier = recorded(request)
  if earlier then return earlier end
  local sheet = sheets[request[2]]
  if now < sheet[1] or now >= sheet[2] then return { WRONG_WINDOW } end -- guard: window
  local lines = sheet[4]
  local away = not_ready(request, lines)
  if away then return away end
  local result, fits = measure(request, lines)
  if request[1] == 0 then return look(request, result, fits) end
  local known = earlier_attempt(request, event) -- guard: earlier_attempt
  if known == nil then return { UNSURE } end -- guard: earlier_attempt
  if known then result[1], result[2] = ACCEPTED, known return result end -- guard: earlier_attempt
  if not fits then return result end
  if full() then return { FULL } end
  add(request, lines, result)
  append(request, event)
  result[1], result[2] = ACCEPTED, seq
  record(request, event, result)
  return result
end

-- The counters that a clear takes back, as the lines of a sheet with negative units.
local function lines_to_clear(state, metric, depth, windows)
  local lines = {}
  for field, used in pairs(state.used) do
    local name, letter, start = match(field, '^([%l%d_]+):(%l):(%d+)$')
    local window = windows[letter]
    local wanted = window and tonumber(start) == window[2] and (metric == '' or metric == name)
    if wanted and used > 0 then lines[#lines + 1] = { depth, field, -used, -1, window[3] } end
  end
  return lines
end

local function read_all_fields(state)
  local got = call('HGETALL', state.key)
  for i = 1, #got, 2 do
    local field = got[i]
    if #field > 1 and not state.used[field] then state.used[field] = tonumber(got[i + 1]) end
  end
end

local function clear(request, event)
  local sheet = sheets[request[2]]
  if now < sheet[1] or now >= sheet[2] then return { WRONG_WINDOW } end
  local away = not_ready(request, {})
  if away then return away end
  local known = earlier_attempt(request, event)
  if known == nil then return { UNSURE } end
  if known then
    local entry = entry_at(KEYS[2], epoch, known)
    local number = entry.events[known - entry.first + 1][1]
    return { ACCEPTED, known, pack(entry.sheets[number + 1]) }
  end
  if full() then return { FULL } end
  local windows = {}
  for i = 1, #sheet[5] do windows[sheet[5][i][1]] = sheet[5][i] end
  local state = states[place_of(request, sheet[4])]
  read_all_fields(state)
  local lines = lines_to_clear(state, sheet[3], sheet[4], windows)
  for i = 1, #lines do
    state.used[lines[i][2]] = 0
    state.changed[lines[i][2]] = true
  end
  state.reset_at, state.was_reset = now, true
  append(request, event)
  local made = pack({ sheet[1], sheet[2], '', lines })
  made_sheets[request[2]] = made
  return { ACCEPTED, seq, made }
end

-- What the outbox keeps of a sheet. What a clear asks for is not a sheet: one that cleared nothing
-- leaves an empty one in its place.
local function raw_sheet(i)
  if made_sheets[i] then return made_sheets[i] end
  if sheets[i][5] then return pack({ 0, 0, '', {} }) end
  return ARGV[1 + i]
end

local function write_outbox()
  local raw = {}
  for i = 1, head[8] do raw[i] = raw_sheet(i) end
  local id = format('%.0f-%.0f', epoch, seq)
  local sheet_bytes, event_bytes = table.concat(raw), table.concat(events)
  call('XADD', KEYS[2], id, 'h', pack({ now, prevs }), 's', sheet_bytes, 'e', event_bytes)
end

-- A subject's fields of windows before those that were just written.
local function drop_old_windows(state)
  local starts = {}
  for field in pairs(state.changed) do
    local name, start = match(field, '^(.*):(%d+)$')
    starts[name] = tonumber(start)
  end
  local fields = call('HKEYS', state.key)
  for i = 1, #fields do
    local name, start = match(fields[i], '^(.*):(%d+)$')
    if name and starts[name] and tonumber(start) < starts[name] then
      call('HDEL', state.key, fields[i])
    end
  end
end

local function write_state(state)
  local arguments, count = { 'o', state.last }, 2
  for field in pairs(state.changed) do
    arguments[count + 1], arguments[count + 2] = field, state.used[field]
    count = count + 2
  end
  if state.was_reset then
    arguments[count + 1], arguments[count + 2] = 'z', state.reset_at
    count = count + 2
  end
  local now_s = math.floor(now / 1000)
  local due = now_s - state.touched_s > head[5] / 8
  if due then arguments[count + 1], arguments[count + 2] = 't', now_s end
  call('HSET', state.key, unpack(arguments))
  if due then call('EXPIRE', state.key, head[5]) end
  if state.opens_window then drop_old_windows(state) end
end

local function write()
  write_outbox()
  local pending = {}
  for i = 1, #dirty do
    write_state(dirty[i])
    pending[2 * i - 1], pending[2 * i] = dirty[i].last, dirty[i].key
  end
  if #pending > 0 then call('ZADD', KEYS[3], unpack(pending)) end
  call('HSET', KEYS[1], 'seq', seq, 'now', now)
  local ttl_s = format('%d', head[4])
  for i = 1, #fresh_keys do
    local place = fresh_keys[i]
    call('SET', KEYS[place], fresh[place], 'EX', ttl_s)
  end
end

read_records()
local results = {}
for i = 1, #requests do
  local request, event = requests[i], ARGV[1 + head[8] + i]
  if request[1] == 2 then
    results[i] = clear(request, event)
  else
    results[i] = decide(request, event)
  end
end
if #events > 0 then write() end
return pack({ OK, epoch, seq, now, results })
