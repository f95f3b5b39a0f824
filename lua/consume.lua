--[[
consume — decide up to 64 requests of one shard, in order and each on its own: add units to every
limit of a subject path or to none, hold them, look without adding, end a hold, or rewrite counters.
One outbox entry holds all accepted events. Its parts are lib/: levels, claims, holds, rewrites.

KEYS: 3 + distinct keys of the requests, those of levels first
  1  meta     hash    epoch, seq, floor, fence, now
  2  outbox   stream
  3  pending  hash    level's key -> seq of its last event, which may be trimmed already
  …  states of levels and idempotency records, named by index in the requests; all strings
ARGV: 1 + 2 sheets + requests
  1  head     msgpack values, one after the other: epoch, seen_seq, offset_ms, idempotency_ttl_s,
              idle_ttl_s, outbox_events_max, chain_max, sheets, requests, keys of levels; then for
              each request: kind (0 look, 1 add, 2 clear, 3 set, 4 decrement, 5 reserve, 6 commit,
              7 commit after its expiry, 8 release, 9 expire, 10 extend, 11 refund, 12 roll over,
              13 give away), sheet, record key or 0, fingerprint or 0, request id or '', seq seen
              before a first attempt of unknown fate or -1, amount, and for each level of the
              path: key, profile version or -1; for 5 to 10 then the key of the hold's record, and
              an instant (s) until which to hold, or 1 for a commit that must stay within limits.
              A key is its index after the third
  …  a sheet as it is decided by: msgpack { start_ms, end_ms, depth of the path, lines; then
              columns: by depth the first and the last line, and by line field, weight, ceiling,
              fields of earlier slices or false; false, or what C_MORE says }. To clear it ends with
              the lines, which are 0
  …  a sheet as the outbox has it: msgpack { start_ms, end_ms, plan, lines, depth }; a line is
              { depth, field, weight, ceiling or -1, end_s, … }, with more for readers. To clear:
              { start_ms, end_ms, metric or '', { { letter, from_s, to_s, end_s } … }, depth }. To
              refund, roll or give: lines as lib/rewrites.lua says. To end a hold: its record as
              the caller knows it, or nothing
  …  an event msgpack, opaque but for its sheet's number (byte 2) and its id (bytes 5 to 20); of
              a reserve the last two values are the instant until which it holds, and nil
A state is what lib/prelude.lua says beside E_EPOCH.
Returns   msgpack { code, epoch, seq, now_ms, then for each request: outcome, extra … }:
          REFUSED, 0, used … | ACCEPTED, seq, used after … (added, held)
          ACCEPTED, reset_at_ms, used … (looked at) | ACCEPTED, seq, sheet (rewritten)
          those four with DETAILED added, and behind used held …, carried …, granted …, free_at
          ACCEPTED, seq, record (a hold) | ENDED, status, amount committed
          REPLAYED, record | LOAD, depth | STALE, depth | ROLL_FIRST, depth | others, 0
Errors    BADARG (caller bug, not retried)
Cost      O(requests x limits): one MGET, one XADD, one HSET, one SET a touched level and a record
Retry     safe with the same event id and the seq seen before the first attempt
]]

local DETAILED = 16 -- added to an outcome that is followed by more than used units

-- What earlier slices of a sliding window hold.
local function slices_of(depth, fields)
  local used = 0
  for i = 1, #fields do
    local place = places[depth][fields[i]]
    if place then used = used + levels[depth][place] end
  end
  return used
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

-- Whether more than used units counts for the request.
local function has_more(sheet)
  if sheet[C_MORE] then return true end
  for depth = 1, sheet[C_DEPTH] do
    if places[depth].holds then return true end
  end
  return false
end

-- The answer to a request. The counts of the lines stand behind the outcome already.
local function decided(outcome, extra, count, by_line, free_again)
  emit(by_line and outcome + DETAILED or outcome, extra)
  filled = filled + count
  if by_line then detail(by_line, free_again or 0) end
end

-- Gives an event a sheet of its own, whose lines have its units.
local function own_sheet(number, event, lines)
  local asked = unpack_all(given_sheet(number))
  made_count = made_count + 1
  made_sheets[made_count] = pack_made(asked, asked[3], lines, asked[5], 0)
  return sub(event, 1, 1) .. string.char(made_count - 1) .. sub(event, 3)
end

-- What a hold has to remember of its grants.
local function held_grants(groups)
  local held = {}
  for _, group in ipairs(groups) do
    for _, it in ipairs(group.grants) do
      held[#held + 1] = {
        group.depth, group.metric, it.field, it.amount, it.end_s, it.taken,
      }
    end
  end
  return #held > 0 and held
end

local function remember_hold(at, number, until_s, groups, by_line, is_shared)
  local held = 1
  if is_shared then
    held = {}
    for i, it in ipairs(by_line) do held[i] = it.units - it.group.spared end
  end
  keep_hold(head[at + LEVELS_AT + 2 * sheets[number][C_DEPTH]], {
    OPEN, epoch, until_s, head[at + 6], 0, given_sheet(number), held, held_grants(groups),
  })
end

-- Charges or holds the claims. The lines that say so when a part comes from grants.
local function take(groups, by_line, number, suffix)
  local base, lines, is_shared = filled + 2, {}, share_out(groups)
  local weights = is_shared and unpack_all(given_sheet(number))[4]
  for i, it in ipairs(by_line) do
    local units = it.units - it.group.spared
    if units > 0 or suffix == '' then add_to(it.depth, it.field .. suffix, units, false) end
    if suffix == '' then
      results[base + i] = it.used + units
    else
      it.held = it.held + units
    end
    if is_shared then
      local line = weights[i]
      lines[i] = { line[1], line[2], units, line[4], line[5] }
    end
  end
  if not is_shared then return nil end
  grant_lines(groups, lines)
  for i = #by_line + 1, #lines do add_to(lines[i][1], lines[i][2] .. suffix, lines[i][3], false) end
  return lines
end

-- A request that does not fit: whether only because of what is held, and until when.
local function refuse(extra, groups, by_line)
  share_out(groups)
  -- Nothing is taken: grants have what they had.
  for _, group in ipairs(groups) do group.granted = group.granted + group.spared end
  local free_again = all_fit(groups, true) and free_at(groups) or 0
  decided(REFUSED, extra, #by_line, by_line, free_again)
end

-- Makes an accepted request known by the counts of its answer, which begin there.
local function record_answer(at, event, first, more)
  local values = pack(now, head[at + 4], unpack(results, first, filled))
  record(at, event, given_sheet(head[at + 1]), values .. (more or ''))
end

-- Charges or holds what was found to fit.
local function accept(at, event, groups, by_line)
  local number = head[at + 1]
  local depth, until_s = sheets[number][C_DEPTH], nil
  local suffix, first = '', filled + 3
  if head[at] == RESERVE then
    until_s = head[at + LEVELS_AT + 2 * depth + 1]
    suffix = '@' .. format('%d', until_s)
  end
  local lines = take(groups, by_line, number, suffix)
  append(at, lines and own_sheet(number, event, lines) or event, depth)
  decided(ACCEPTED, seq, #by_line, by_line)
  if until_s then
    remember_hold(at, number, until_s, groups, by_line, lines)
    -- The record of a hold tells more than its answer: until when, how much, and no flags.
    record_answer(at, event, first, pack(until_s, head[at + 6], 0))
  else
    record_answer(at, event, first)
  end
end

-- Answers what there is, for a look and for an attempt that was applied before.
local function show(outcome, extra, groups, by_line)
  for _, it in ipairs(by_line) do it.units = 0 end
  share_out(groups)
  decided(outcome, extra, #by_line, by_line)
end

-- Whether a hold of that id is there already; the answer is given then.
local function held_before(at, depth)
  if head[at] ~= RESERVE then return false end
  local place = head[at + LEVELS_AT + 2 * depth]
  local hold = stored[place] and { unpack_all(stored[place]) }
  if not hold or hold[H_EPOCH] ~= epoch then return false end
  emit(ENDED, hold[H_STATUS])
  answer(hold[H_STATUS] == OPEN and hold[H_AMOUNT] or hold[H_ENDED])
  return true
end

-- Decides a request for which more than used units counts, or which holds.
local function decide_on_claims(at, sheet, event, known)
  local depth = sheet[C_DEPTH]
  local groups, by_line = claims_of(head[at + 1], head[at + 6], head[at] == RESERVE)
  if known then return show(ACCEPTED, known, groups, by_line) end
  if held_before(at, depth) then return end
  local reset_at = head[at] == LOOK and levels[depth][E_RESET]
  if not all_fit(groups, false) then return refuse(reset_at or 0, groups, by_line) end
  if reset_at then return show(ACCEPTED, reset_at, groups, by_line) end
  if full() then return emit(FULL, 0) end
  accept(at, event, groups, by_line)
end

local function decide_on_used(at, sheet, event, known, fits)
  local number, amount, count, depth = head[at + 1], head[at + 6], sheet[C_LINES], sheet[C_DEPTH]
  if head[at] == LOOK then
    return decided(fits and ACCEPTED or REFUSED, levels[depth][E_RESET], count)
  end
  if known then return decided(ACCEPTED, known, count) end -- guard: earlier_attempt
  if not fits then return decided(REFUSED, 0, count) end
  if full() then return emit(FULL, 0) end
  for d = 1, depth do add_to_level(number, d, amount) end
  append(at, event, depth)
  local first = filled + 3
  decided(ACCEPTED, seq, count)
  if head[at + 2] > 0 then record_answer(at, event, first) end
end

local function decide(at, sheet, event)
  local fits = measure(head[at + 1], head[at + 6])
  local known = false
  if head[at] ~= LOOK then
    known = earlier_attempt(at, event, sheet[C_DEPTH]) -- guard: earlier_attempt
  end
  if known == nil then return emit(UNSURE, 0) end -- guard: earlier_attempt
  if head[at] == RESERVE or has_more(sheet) then
    return decide_on_claims(at, sheet, event, known)
  end
  return decide_on_used(at, sheet, event, known, fits)
end

-- The first level on which a limit that rolls over has a window that nobody opened yet.
local function not_rolled(sheet)
  local rolls = sheet[C_MORE] and sheet[C_MORE][M_ROLLS]
  for depth = 1, rolls and sheet[C_DEPTH] or 0 do
    for _, field in ipairs(rolls[depth]) do
      if not places[depth][field] and not places[depth][field .. '+'] then return depth end
    end
  end
end

-- What is asked in place of a sheet is none: when nothing is made of it an empty one stands there.
local function leave_empty_sheet(kind, number)
  local is_sheet = kind < CLEAR or kind > CLEAR and kind <= RESERVE
  if not is_sheet then made_sheets[number] = pack({ 0, 0, '', {}, 1 }) end
end

local function serve(at, sheet, event)
  local kind, depth = head[at], sheet[C_DEPTH]
  leave_empty_sheet(kind, head[at + 1])
  if replayed(at) then return end
  local is_current = sheet[C_START] <= now and now < sheet[C_END]
  if not is_current then return emit(WRONG_WINDOW, 0) end -- guard: window
  local away, of_depth = not_ready(at, depth)
  if away then return emit(away, of_depth) end
  of_depth = not_rolled(sheet)
  if of_depth then return emit(ROLL_FIRST, of_depth) end
  if kind >= COMMIT and kind <= EXTEND then return finish(at, depth, event) end
  if kind == RESERVE or kind < CLEAR then return decide(at, sheet, event) end
  return rewrite(at, depth, event)
end

local function write_outbox()
  local raw = {}
  for i = 1, made_count do raw[i] = raw_sheet(i) end
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
  for i = 1, record_count do
    local place = record_places[i]
    call('SET', KEYS[3 + place], stored[place], 'EX', format('%d', record_ttls[i]))
  end
end

for i = 1, sheet_count do
  if sheets[i][C_DEPTH] > links[2] then links[2] = sheets[i][C_DEPTH] end
end
local at = 11
for i = 1, request_count do
  local sheet = sheets[head[at + 1]]
  serve(at, sheet, ARGV[1 + 2 * sheet_count + i])
  local is_of_hold = head[at] >= RESERVE and head[at] <= EXTEND
  at = at + LEVELS_AT + 2 * sheet[C_DEPTH] + (is_of_hold and 2 or 0)
end
if event_count > 0 then write() end
results[3] = seq
return pack(results)
