--[[
consume — decide up to 64 requests of one shard, in order and each on its own: add units to every
limit of a subject path or to none, look without adding, or rewrite counters (clear, set,
decrement). One outbox entry holds all accepted events.

KEYS: 3 + distinct keys of the requests, those of levels first
  1  meta     hash    epoch, seq, floor, fence, now
  2  outbox   stream
  3  pending  hash    level's key -> seq of its last event, which may be trimmed already
  …  states of levels and idempotency records, named by index in the requests; all strings
ARGV: 1 + 2 sheets + requests
  1  head     msgpack values, one after the other: epoch, seen_seq, offset_ms, idempotency_ttl_s,
              idle_ttl_s, outbox_events_max, chain_max, sheets, requests, keys of levels; then for
              each request: kind (0 look, 1 add, 2 clear, 3 set, 4 decrement), sheet, record key
              or 0, fingerprint or 0, request id or 0, seq seen before a first attempt of unknown
              fate or -1, amount, and for each level of the path: key, profile version. A key is
              its index after the third
  …  a sheet as it is decided by: msgpack { start_ms, end_ms, depth of the path, lines; then
              columns: by depth the first and the last line, and by line field, weight, ceiling,
              fields of earlier slices or false }. To clear it ends with the lines, which are 0
  …  a sheet as the outbox has it: msgpack { start_ms, end_ms, plan, lines, depth }; a line is
              { depth, field, weight, ceiling or -1, end_s, … }, with more for readers. To clear:
              { start_ms, end_ms, metric or '', { { letter, from_s, to_s, end_s } … }, depth }
  …  an event msgpack, opaque but for its sheet's number (byte 2) and its id (bytes 5 to 20)
A state is what lib/prelude.lua says beside E_EPOCH.
Returns   msgpack { code, epoch, seq, now_ms, then for each request: outcome, extra … }:
          REFUSED, 0, used … | ACCEPTED, seq, used after … (added)
          ACCEPTED, reset_at_ms, used … (looked at) | ACCEPTED, seq, sheet (rewritten)
          REPLAYED, record | LOAD, depth | STALE, depth | others, 0
Errors    BADARG (caller bug, not retried)
Cost      O(requests x limits): one MGET, one XADD, one HSET, one SET a touched level and a record
Retry     safe with the same event id and the seq seen before the first attempt
]]

local LOOK, CLEAR, SET = 0, 2, 3
local LEVELS_AT = 7 -- a request's levels follow so many values
-- Counters of a level, before a call. With 64 requests of 32 limits they stay below what a Lua
-- function can be given, so that packing a state cannot fail after the first write.
local COUNTERS_MAX = 2000

local head = { unpack_all(ARGV[1]) }
local epoch, sheet_count, request_count = head[1], head[8], head[9]
local meta = read_meta(KEYS[1])
local now = read_now(meta, head[3])
local code = shard_code(meta, epoch, head[2])
if code ~= OK then return pack({ code, meta.epoch or 0, meta.seq, now }) end

local C_START, C_END, C_DEPTH, C_LINES, C_FROM, C_TO = 1, 2, 3, 4, 5, 6
local C_FIELD, C_WEIGHT, C_CEILING, C_SLICES = 7, 8, 9, 10
local sheets, slots = {}, {}
for i = 1, sheet_count do
  sheets[i], slots[i] = unpack_all(ARGV[1 + i]), {}
end
local seq, now_s = meta.seq, math.floor(now / 1000)
-- What the keys after the third hold: decoded states, and records, each new one in its place.
local stored = call('MGET', unpack(KEYS, 4))
for i = 1, head[10] do
  if stored[i] then stored[i] = { unpack_all(stored[i]) } end
end
-- Of the levels that change: their last events before this call.
local last_before, touched, touched_count = {}, {}, 0
local record_places, record_count = {}, 0
-- What the outbox entry will hold.
local events, event_count, links, link_count, made_sheets = {}, 0, { now, 1 }, 2, {}
local results, filled = { OK, epoch, seq, now }, 4

local function emit(outcome, extra)
  results[filled + 1], results[filled + 2] = outcome, extra
  filled = filled + 2
end

-- Where a state has which count. Most subjects have the same fields in the same order.
local layouts = {}
local function layout_of(fields)
  local layout = layouts[fields]
  if layout then return layout end
  layout = {}
  local place = E_FIELDS
  for field in gmatch(fields, '%S+') do
    place = place + 1
    layout[field] = place
  end
  layout.count = place - E_FIELDS -- no field is called so: each has a colon
  layouts[fields] = layout
  return layout
end

-- Where a state of that layout has the counts of a sheet's lines at a depth; false for what it has
-- not.
local function slots_of(number, depth, layout)
  local of_sheet = slots[number]
  local of_depth = of_sheet[depth]
  if not of_depth then
    of_depth = {}
    of_sheet[depth] = of_depth
  end
  local known = of_depth[layout]
  if known then return known end
  local sheet, found = sheets[number], {}
  for i = sheet[C_FROM][depth], sheet[C_TO][depth] do
    found[i] = layout[sheet[C_FIELD][i]] or false
  end
  of_depth[layout] = found
  return found
end

-- Of the request at hand by depth: states, their layouts, and where they have the lines' counts.
local levels, places, founds = {}, {}, {}

-- Why the levels of a request cannot be decided upon, and the depth of the first such; or nil.
local function not_ready(at, depth)
  local place = at + LEVELS_AT
  for d = 1, depth do
    local state, version = stored[head[place]], head[place + 1]
    if not state then return LOAD, d end
    if state[E_EPOCH] ~= epoch then return LOAD, d end -- guard: epoch_in_counter
    if version < state[E_VERSION] then return STALE, d end -- guard: profile_version
    local layout = layout_of(state[E_FIELDS])
    if layout.count > COUNTERS_MAX then return FULL, d end
    levels[d], places[d], place = state, layout, place + 2
  end
end

-- What earlier slices of a sliding window hold.
local function slices_of(depth, fields)
  local used = 0
  for i = 1, #fields do
    local place = places[depth][fields[i]]
    if place then used = used + levels[depth][place] end
  end
  return used
end

-- Whether an earlier attempt at this operation was applied: its seq, false, or nil when that cannot
-- be told.
local function earlier_attempt(at, event, depth)
  local since = head[at + 5]
  if since < 0 then return false end
  local place = head[at + LEVELS_AT + 2 * depth - 2]
  local event_id, last = sub(event, 5, 20), last_before[place] or levels[depth][E_LAST]
  for _ = 1, head[7] do
    if last <= since then return false end
    local entry = entry_at(KEYS[2], epoch, last)
    if not entry then return nil end
    local index = last - entry.first + 1
    if entry.events[index][3] == event_id then return last end
    last = link_of(entry, index, depth)
  end
end

local function touch(place, version)
  local state = stored[place]
  local last = state[E_LAST]
  -- A caller may know of a change that Redis has forgotten: from now on the others have to ask.
  if version > state[E_VERSION] then state[E_VERSION] = version end
  if not last_before[place] then
    touched_count = touched_count + 1
    last_before[place], touched[touched_count] = last, place
  end
  state[E_LAST] = seq
  return last
end

-- Gives an accepted request its place in the outbox.
local function append(at, event, depth)
  seq, event_count = seq + 1, event_count + 1
  events[event_count] = event
  local level = at + LEVELS_AT
  for d = 1, links[2] do
    local last = 0
    if d <= depth then last = touch(head[level], head[level + 1]) end
    links[link_count + d], level = last, level + 2
  end
  link_count = link_count + links[2]
end

-- The counts of one level as they are, in the order of its lines, behind the outcome that is yet to
-- come, and whether all ceilings hold what would be added.
local function measure_level(number, depth, amount)
  local sheet, state, base, fits = sheets[number], levels[depth], filled + 2, true
  local weight, ceiling, slices = sheet[C_WEIGHT], sheet[C_CEILING], sheet[C_SLICES]
  local found = slots_of(number, depth, places[depth])
  founds[depth] = found
  for i = sheet[C_FROM][depth], sheet[C_TO][depth] do
    local slot, units = found[i], weight[i] * amount
    local used = slot and state[slot] or 0
    if slices[i] then used = used + slices_of(depth, slices[i]) end
    results[base + i] = used
    if used + units > ceiling[i] and units > 0 then fits = false end
  end
  return fits
end

local function measure(number, amount)
  local fits = true
  -- Without gaps the table stays an array.
  results[filled + 1], results[filled + 2] = REFUSED, 0
  for depth = 1, sheets[number][C_DEPTH] do
    if not measure_level(number, depth, amount) then fits = false end
  end
  return fits
end

-- Begins a counter at zero, and drops those whose windows have ended.
local function open_field(depth, field)
  local state, place, kept, fields = levels[depth], E_FIELDS, E_FIELDS, {}
  for known in gmatch(state[E_FIELDS], '%S+') do
    place = place + 1
    if not has_ended(known, now_s) then
      kept = kept + 1
      state[kept], fields[#fields + 1] = state[place], known .. ' '
    end
  end
  for i = #state, kept + 1, -1 do state[i] = nil end
  state[kept + 1], fields[#fields + 1] = 0, field .. ' '
  state[E_FIELDS] = table.concat(fields)
  places[depth] = layout_of(state[E_FIELDS])
  return kept + 1
end

local function add_to_level(number, depth, amount)
  local sheet, state, base = sheets[number], levels[depth], filled + 2
  local weight, found = sheet[C_WEIGHT], founds[depth]
  for i = sheet[C_FROM][depth], sheet[C_TO][depth] do
    local slot, units = found[i], weight[i] * amount
    if not slot then
      slot = open_field(depth, sheet[C_FIELD][i])
      found = slots_of(number, depth, places[depth])
    end
    state[slot] = state[slot] + units
    results[base + i] = results[base + i] + units
  end
end

local function given_sheet(number) return ARGV[1 + sheet_count + number] end
local function raw_sheet(number) return made_sheets[number] or given_sheet(number) end

-- Makes a repetition of an accepted request known. `counts` are those of the lines after it.
local function record(at, event, counts)
  local place = head[at + 2]
  if place == 0 then return end
  stored[place] = head[at + 3] .. sub(event, 5, 20) .. raw_sheet(head[at + 1])
    .. pack(now, head[at + 4], unpack(counts))
  record_count = record_count + 1
  record_places[record_count] = place
end

-- Whether the request was answered before; the answer is given then.
local function replayed(at)
  local place = head[at + 2]
  local known = place > 0 and stored[place]
  if not known then return false end
  if sub(known, 1, 8) ~= head[at + 3] then
    emit(MISMATCH, 0)
  else
    emit(REPLAYED, known)
  end
  return true
end

-- The counts of the lines stand behind the outcome already.
local function decided(outcome, extra, count)
  emit(outcome, extra)
  filled = filled + count
end

local function full() return seq - meta.floor >= head[6] end

local function decide(at, sheet, event)
  local number, amount, count, depth = head[at + 1], head[at + 6], sheet[C_LINES], sheet[C_DEPTH]
  local fits = measure(number, amount)
  if head[at] == LOOK then
    return decided(fits and ACCEPTED or REFUSED, levels[depth][E_RESET], count)
  end
  local known = earlier_attempt(at, event, depth) -- guard: earlier_attempt
  if known == nil then return emit(UNSURE, 0) end -- guard: earlier_attempt
  if known then return decided(ACCEPTED, known, count) end -- guard: earlier_attempt
  if not fits then return decided(REFUSED, 0, count) end
  if full() then return emit(FULL, 0) end
  for d = 1, depth do add_to_level(number, d, amount) end
  append(at, event, depth)
  decided(ACCEPTED, seq, count)
  if head[at + 2] > 0 then
    record(at, event, { unpack(results, filled - count + 1, filled) })
  end
end

-- Where the window of a counter ends: a slice by itself, any other with the current window.
local function end_s_of(letter, start, current_end_s)
  local slice_s = SLICE_S[letter]
  return slice_s and start + slice_s or current_end_s
end

-- The counts that a clear takes back, as the lines of a sheet: { depth, field, units, -1, end_s,
-- count after }.
local function lines_to_clear(state, sheet)
  local metric, windows, depth, lines, place = sheet[3], {}, sheet[5], {}, E_FIELDS
  for i = 1, #sheet[4] do windows[sheet[4][i][1]] = sheet[4][i] end
  for field in gmatch(state[E_FIELDS], '%S+') do
    place = place + 1
    local name, letter, start = match(field, '^([%l%d_]+):(%a):(%d+)$')
    local window, used = windows[letter], state[place]
    local is_current = window and tonumber(start) >= window[2] and tonumber(start) < window[3]
    if is_current and (metric == '' or metric == name) and used > 0 then
      local end_s = end_s_of(letter, start, window[4])
      lines[#lines + 1] = { depth, field, -used, -1, end_s, 0 }
      state[place] = 0
    end
  end
  state[E_RESET] = now
  return lines
end

-- Takes units back from earlier slices, the latest first, as more lines of a sheet.
local function take_from_slices(lines, depth, fields, units)
  local state = levels[depth]
  for i = 1, #fields do
    local place = places[depth][fields[i]]
    local taken = place and math.min(state[place], units) or 0
    if taken > 0 then
      local letter, start = match(fields[i], ':(%a):(%d+)$')
      state[place], units = state[place] - taken, units - taken
      lines[#lines + 1] = {
        depth, fields[i], -taken, -1, end_s_of(letter, start), state[place],
      }
    end
  end
end

-- The changes that give each line's counter its new count, as lines like those of a clear. A
-- sliding limit then has it in the current slice when it is set, and is lowered by its latest
-- units.
local function lines_to_set(number, sheet, is_set, amount)
  local lines = {}
  for i = 1, #sheet[4] do
    local line = sheet[4][i]
    local depth, field, slices = line[1], line[2], sheets[number][C_SLICES][i]
    local state, place = levels[depth], places[depth][field] or open_field(depth, field)
    local before = state[place]
    local after = is_set and amount or math.max(0, before - amount)
    state[place] = after
    lines[#lines + 1] = { depth, field, after - before, -1, line[5], after }
    local left = is_set and UNITS_MAX or amount - (before - after)
    if slices then take_from_slices(lines, depth, slices, left) end
  end
  return lines
end

-- The sheet that an earlier attempt made.
local function sheet_made_at(known)
  local entry = entry_at(KEYS[2], epoch, known)
  return pack(entry.sheets[entry.events[known - entry.first + 1][1] + 1])
end

-- Changes the counters, and makes the sheet that says so.
local function make_changes(at, depth, event)
  local kind, number, counts = head[at], head[at + 1], {}
  local asked = unpack_all(given_sheet(number))
  local lines = kind == CLEAR and lines_to_clear(levels[depth], asked)
    or lines_to_set(number, asked, kind == SET, head[at + 6])
  append(at, event, depth)
  local plan = kind == CLEAR and '' or asked[3]
  made_sheets[number] = pack({ asked[1], asked[2], plan, lines, depth })
  emit(ACCEPTED, seq)
  for i = 1, #lines do counts[i] = lines[i][6] end
  record(at, event, counts)
end

local function rewrite(at, depth, event)
  local known = earlier_attempt(at, event, depth)
  if known == nil then return emit(UNSURE, 0) end
  if known then
    emit(ACCEPTED, known)
  else
    if full() then return emit(FULL, 0) end
    make_changes(at, depth, event)
  end
  filled = filled + 1
  results[filled] = known and sheet_made_at(known) or made_sheets[head[at + 1]]
end

local function serve(at, sheet, event)
  -- What a clear asks for is not a sheet: one that clears nothing leaves an empty one in its place.
  if head[at] == CLEAR then made_sheets[head[at + 1]] = pack({ 0, 0, '', {}, 1 }) end
  if replayed(at) then return end
  local is_current = sheet[C_START] <= now and now < sheet[C_END]
  if not is_current then return emit(WRONG_WINDOW, 0) end -- guard: window
  local away, depth = not_ready(at, sheet[C_DEPTH])
  if away then return emit(away, depth) end
  if head[at] >= CLEAR then return rewrite(at, sheet[C_DEPTH], event) end
  return decide(at, sheet, event)
end

local function write_outbox()
  local raw = {}
  for i = 1, sheet_count do raw[i] = raw_sheet(i) end
  local id = format('%.0f-%.0f', epoch, seq)
  call(
    'XADD', KEYS[2], id, 'h', pack(links), 's', table.concat(raw), 'e', table.concat(events)
  )
end

local function write_states()
  local pending = {}
  for i = 1, touched_count do
    local place = touched[i]
    local state = stored[place]
    pending[2 * i - 1], pending[2 * i] = KEYS[3 + place], format('%d', state[E_LAST])
    if now_s - state[E_TOUCHED] > head[5] / 8 then
      state[E_TOUCHED] = now_s
      call('SET', KEYS[3 + place], pack(unpack(state)), 'EX', format('%d', head[5]))
    else
      call('SET', KEYS[3 + place], pack(unpack(state)), 'KEEPTTL')
    end
  end
  call('HSET', KEYS[3], unpack(pending))
end

local function write()
  write_outbox()
  write_states()
  call('HSET', KEYS[1], 'seq', format('%d', seq), 'now', format('%d', now))
  local ttl_s = format('%d', head[4])
  for i = 1, record_count do
    local place = record_places[i]
    call('SET', KEYS[3 + place], stored[place], 'EX', ttl_s)
  end
end

for i = 1, sheet_count do
  if sheets[i][C_DEPTH] > links[2] then links[2] = sheets[i][C_DEPTH] end
end
local at = 11
for i = 1, request_count do
  local sheet = sheets[head[at + 1]]
  serve(at, sheet, ARGV[1 + 2 * sheet_count + i])
  at = at + LEVELS_AT + 2 * sheet[C_DEPTH]
end
if event_count > 0 then write() end
results[3] = seq
return pack(results)
