-- The second part of consume: what is asked most of levels that hold units. Decided here are
-- requests of which nothing is carried or granted and that fit, and the ends in time of such holds;
-- the parts after this one, which make tables of a request, decide the others.

-- A record of a hold: its status, epoch, end (s), amount, what was committed of it, the sheet that
-- it was measured against, what it holds of each line (0 nothing, 1 weight x amount, or a list),
-- and its grants or false, each { depth, metric, field, amount, end_s, held }. What a caller tells
-- of a hold ends with the seq up to which it has read the log.
local H_STATUS, H_EPOCH, H_UNTIL, H_AMOUNT = 1, 2, 3, 4
local H_ENDED, H_SHEET, H_HELD, H_GRANTS, H_READ = 5, 6, 7, 8, 9
local OPEN, COMMITTED, RELEASED, EXPIRED, COMMITTED_LATE = 0, 1, 2, 3, 4
local LATE_FLAG, OVERAGE_FLAG = 1, 2
local SHEETS_MAX = 128 -- of a call
local NO_FINGERPRINT = '\0\0\0\0\0\0\0\0'

-- What is held of the lines of the request at hand.
local held = {}

local function count_of(depth, field)
  local place = places[depth][field]
  return place and levels[depth][place] or 0
end

-- What is held of a counter, and when the first of it is free again.
local function held_of(depth, field)
  local holds = places[depth].holds
  local ends = holds and holds[field]
  if not ends then return 0 end
  local units, free_at = 0, nil
  for i = 1, #ends, 2 do
    local count, until_s = levels[depth][ends[i]], ends[i + 1]
    if until_s > now_s and count > 0 then
      units = units + count
      if not free_at or until_s < free_at then free_at = until_s end
    end
  end
  return units, free_at
end

-- Takes a counter out of a state.
local function close_field(depth, field)
  local state, fields = levels[depth], levels[depth][E_FIELDS]
  local from, to = string.find(' ' .. fields, ' ' .. field .. ' ', 1, true)
  table.remove(state, places[depth][field])
  state[E_FIELDS] = sub(fields, 1, from - 1) .. sub(fields, to)
  places[depth] = layout_of(state[E_FIELDS])
end

-- A sheet whose lines have the units of its event. Its flags are 1 for late, 2 for overage.
local function pack_made(asked, plan, lines, depth, flags)
  return pack({ asked[1], asked[2], plan, lines, depth, flags })
end

local function keep_hold(place, hold)
  keep(place, pack(unpack(hold)), head[4] + math.max(0, hold[H_UNTIL] - now_s))
end

-- Tells of a hold that was ended or moved. Its record has no fingerprint.
local function tell(hold, event, known, values)
  emit(ACCEPTED, known)
  answer(NO_FINGERPRINT .. sub(event, 5, 20) .. hold[H_SHEET] .. values)
end

-- What counts beside used units, when that is held units at most.
local function answer_held(outcome, extra, count)
  decided(outcome + DETAILED, extra, count)
  for i = 1, count do results[filled + i] = held[i] end
  for i = filled + count + 1, filled + 3 * count + 1 do results[i] = 0 end
  filled = filled + 3 * count + 1
end

local function carries(depth)
  for d = 1, depth do
    if places[d].carries then return true end
  end
  return false
end

-- The counters that hold units of a sheet until then: by line, nil where a line has no weight; and
-- those of each level in one text. Beside them the records of such holds, by amount.
local function held_names(sheet, until_s)
  sheet.names = sheet.names or {}
  local names = sheet.names[until_s]
  if names then return names end
  local suffix = '@' .. format('%d', until_s)
  names = { texts = {}, counts = {}, records = {} }
  for depth = 1, sheet[C_DEPTH] do
    local text, count = '', 0
    for i = sheet[C_FROM][depth], sheet[C_TO][depth] do
      if sheet[C_WEIGHT][i] > 0 then
        names[i] = sheet[C_FIELD][i] .. suffix
        text, count = text .. names[i] .. ' ', count + 1
      end
    end
    names.texts[depth], names.counts[depth] = text, count
  end
  sheet.names[until_s] = names
  return names
end

local function has_any(depth, sheet, names)
  local layout = places[depth]
  for i = sheet[C_FROM][depth], layout.holds and sheet[C_TO][depth] or 0 do
    if names[i] and layout[names[i]] then return true end
  end
  return false
end

-- Holds the units of a level's lines.
local function hold_level(depth, sheet, names, amount)
  local state, count, weight = levels[depth], names.counts[depth], sheet[C_WEIGHT]
  if count > 0 and not has_any(depth, sheet, names) then
    open_fields(depth, names.texts[depth], count, false)
  end
  for i = sheet[C_FROM][depth], sheet[C_TO][depth] do
    local name = names[i]
    if name then
      local units, slot = weight[i] * amount, places[depth][name] or open_field(depth, name, false)
      state[slot], held[i] = state[slot] + units, held[i] + units
    end
  end
end

-- What is held of a line, with the earlier slices of a sliding limit.
local function held_of_line(depth, sheet, i)
  local count, slices = held_of(depth, sheet[C_FIELD][i]), sheet[C_SLICES][i]
  for k = 1, slices and #slices or 0 do
    local more = held_of(depth, slices[k])
    count = count + more
  end
  return count
end

-- Whether an amount fits beside what is held of a level's lines. Their used units stand behind the
-- outcome already.
local function measure_held(depth, sheet, amount)
  local base, has_holds, fits = filled + 2, places[depth].holds, true
  for i = sheet[C_FROM][depth], sheet[C_TO][depth] do
    local units, used = sheet[C_WEIGHT][i] * amount, results[base + i]
    held[i] = has_holds and held_of_line(depth, sheet, i) or 0
    if units > 0 and used + held[i] + units > sheet[C_CEILING][i] then fits = false end
  end
  return fits
end

local function fits_beside_held(number, amount)
  local sheet, fits = sheets[number], measure(number, amount)
  for depth = 1, fits and sheet[C_DEPTH] or 0 do
    if not measure_held(depth, sheet, amount) then fits = false end
  end
  return fits
end

local function place_of_hold(at, depth) return head[at + LEVELS_AT + 2 * depth] end

-- Whether a request is decided here: by used and held units, and with no earlier attempt at it.
local function is_of_held(at, sheet)
  local is_new = head[at + 5] < 0 and head[at + 6] > 0
  if not is_new or sheet[C_MORE] or carries(sheet[C_DEPTH]) then return false end
  return head[at] ~= RESERVE or not stored[place_of_hold(at, sheet[C_DEPTH])]
end

-- The record of a hold, packed once for holds that are alike. Sheets that are decided alike may say
-- different things to readers.
local function record_of_hold(names, number, until_s, amount)
  local key = amount * SHEETS_MAX + number
  local known = names.records[key]
  if known then return known end
  local made = pack(OPEN, epoch, until_s, amount, 0, given_sheet(number), 1, false)
  names.records[key] = made
  return made
end

-- Holds what fits.
local function reserve(at, sheet, event)
  local depth, amount, number, first = sheet[C_DEPTH], head[at + 6], head[at + 1], filled + 3
  local until_s = head[at + LEVELS_AT + 2 * depth + 1]
  local names = held_names(sheet, until_s)
  for d = 1, depth do hold_level(d, sheet, names, amount) end
  append(at, event, depth)
  answer_held(ACCEPTED, seq, sheet[C_LINES])
  local made = record_of_hold(names, number, until_s, amount)
  keep(place_of_hold(at, depth), made, head[4] + math.max(0, until_s - now_s))
  -- The record of a hold tells more than its answer: until when, how much, and no flags.
  if head[at + 2] > 0 then record_answer(at, event, first, pack(until_s, amount, 0)) end
end

-- Charges what fits.
local function charge(at, sheet, event)
  local depth, amount, first = sheet[C_DEPTH], head[at + 6], filled + 3
  for d = 1, depth do add_to_level(head[at + 1], d, amount) end
  append(at, event, depth)
  answer_held(ACCEPTED, seq, sheet[C_LINES])
  if head[at + 2] > 0 then record_answer(at, event, first) end
end

-- A look, a charge or a reserve. False when another part has to decide it.
function decide_held(at, sheet, event)
  if not is_of_held(at, sheet) then return false end
  if not fits_beside_held(head[at + 1], head[at + 6]) then return false end
  if head[at] == LOOK then
    answer_held(ACCEPTED, levels[sheet[C_DEPTH]][E_RESET], sheet[C_LINES])
  elseif full() then
    emit(FULL, 0)
  elseif head[at] == RESERVE then
    reserve(at, sheet, event)
  else
    charge(at, sheet, event)
  end
  return true
end

do
  -- By the records of holds, and by the sheets that these were measured against, what is the same
  -- for all that are alike; false for holds that another part ends.
  local ends, asked_sheets = {}, {}
  -- Of the request at hand, by line: what it moved and charged; and used and held units.
  local moved, charged, counts = {}, {}, {}

  local function add_column_of(line, asked, i)
    local depth, field = line[1], line[2]
    asked[C_FIELD][i], asked[C_WEIGHT][i], asked[C_CEILING][i] = field, line[3], line[4]
    if line[4] < 0 then asked[C_CEILING][i] = UNITS_MAX end
    asked[C_FROM][depth], asked[C_TO][depth] = asked[C_FROM][depth] or i, i
    local is_slice = SLICE_S[match(field, ':(%a):')]
    if is_slice or has_ended(field, now_s) then asked.is_plain = false end
  end

  -- The sheet of a hold in columns like those of requests.
  local function asked_sheet(bytes)
    local asked = asked_sheets[bytes]
    if asked then return asked end
    local sheet = unpack_all(bytes)
    asked = {
      [C_DEPTH] = sheet[5], [C_LINES] = #sheet[4], [C_FROM] = {}, [C_TO] = {}, [C_FIELD] = {},
      [C_WEIGHT] = {}, [C_CEILING] = {}, sheet = sheet, is_plain = true,
    }
    for i, line in ipairs(sheet[4]) do add_column_of(line, asked, i) end
    for depth = 1, sheet[5] do
      if not asked[C_FROM][depth] then asked[C_FROM][depth], asked[C_TO][depth] = 1, 0 end
    end
    asked_sheets[bytes] = asked
    return asked
  end

  -- A hold that is ended here has not lapsed, and has units of the plan alone, of plain windows
  -- that go on.
  local function is_plain(hold)
    local is_open = hold[H_EPOCH] == epoch and hold[H_STATUS] == OPEN and hold[H_UNTIL] > now_s
    return is_open and hold[H_HELD] == 1 and not hold[H_GRANTS]
  end

  local function end_of(record)
    local known = ends[record]
    if known ~= nil then return known end
    local hold = { unpack_all(record) }
    local asked = is_plain(hold) and asked_sheet(hold[H_SHEET])
    known = asked and asked.is_plain and {
      hold = hold, asked = asked, names = held_names(asked, hold[H_UNTIL]), done = {},
    }
    ends[record] = known
    return known
  end

  -- What a commit or release ends, when that is the first attempt at it and may pass limits.
  local function hold_to_end(at, depth)
    local place = place_of_hold(at, depth)
    local is_strict = head[at] == COMMIT and head[at + LEVELS_AT + 2 * depth + 1] == 1
    if not stored[place] or is_strict or head[at + 5] >= 0 or carries(depth) then return false end
    local it = end_of(stored[place])
    return it and it.asked[C_DEPTH] == depth and it
  end

  -- How many counters of a level hold nothing any more, and whether they are its last.
  local function count_empty(depth, asked, names)
    local state, count, are_last = levels[depth], 0, true
    local last = #state - names.counts[depth]
    for i = asked[C_FROM][depth], asked[C_TO][depth] do
      local slot = names[i] and places[depth][names[i]]
      if slot and state[slot] == 0 then
        count, are_last = count + 1, are_last and slot > last
      end
    end
    return count, are_last
  end

  -- Closes those counters: all at once when they are what a reserve opened last.
  local function close_empty(depth, asked, names)
    local state, of_hold = levels[depth], names.counts[depth]
    local count, are_last = count_empty(depth, asked, names)
    if count == of_hold and are_last then
      for i = #state, #state - count + 1, -1 do state[i] = nil end
      places[depth] = layout_of(sub(state[E_FIELDS], 1, -#names.texts[depth] - 1))
      state[E_FIELDS] = places[depth].fields
      return
    end
    for i = asked[C_FROM][depth], asked[C_TO][depth] do
      local slot = names[i] and places[depth][names[i]]
      if slot and state[slot] == 0 then close_field(depth, names[i]) end
    end
  end

  -- Takes what a hold holds of a level out of its counters. Whether that was all of it: counters
  -- may have been set lower.
  local function let_go(depth, it)
    local asked, names, amount = it.asked, it.names, it.hold[H_AMOUNT]
    local state, is_all = levels[depth], true
    for i = asked[C_FROM][depth], asked[C_TO][depth] do
      local slot, units = places[depth][names[i]], asked[C_WEIGHT][i] * amount
      moved[i] = slot and math.min(state[slot], units) or 0
      if moved[i] < units then is_all = false end
      if slot then state[slot] = state[slot] - moved[i] end
    end
    if names.counts[depth] > 0 then close_empty(depth, asked, names) end
    return is_all
  end

  local function put(depth, field, count)
    local slot = places[depth][field] or open_field(depth, field, true)
    levels[depth][slot] = count
  end

  -- Charges a level with what work took. A counter that is as large as counters are stays so.
  -- Whether that was all, and whether a limit is passed.
  local function charge_level(depth, asked, amount)
    local is_all, is_over, has_holds = true, false, places[depth].holds
    local fields, count = asked[C_FIELD], asked[C_LINES]
    for i = asked[C_FROM][depth], asked[C_TO][depth] do
      local field, units = fields[i], asked[C_WEIGHT][i] * amount
      local slot, of_others = places[depth][field], has_holds and held_of(depth, field) or 0
      local used = slot and levels[depth][slot] or 0
      if units > 0 then
        if used + of_others + units > asked[C_CEILING][i] then is_over = true end
        if used + units > UNITS_MAX then is_all, units = false, UNITS_MAX - used end
      end
      if units > 0 then put(depth, field, used + units) end
      charged[i], counts[i], counts[count + i] = units, used + units, of_others
    end
    return is_all, is_over
  end

  -- The lines of the outbox: first what is held no longer, then what was charged, with the limits
  -- as they stand in the sheet.
  local function lines_of(lines, names)
    local made = {}
    for i, line in ipairs(lines) do
      if moved[i] > 0 then
        made[#made + 1] = { line[1], names[i], -moved[i], line[4], line[5] }
      end
    end
    for i, line in ipairs(lines) do
      if charged[i] > 0 then
        made[#made + 1] = { unpack(line) }
        made[#made][3] = charged[i]
      end
    end
    return made
  end

  -- What the end of a hold leaves: the sheet of the outbox, the hold's record, and the last values
  -- that are told of it, which are what is carried and granted, and when it would have ended.
  local function left_by(it, kind, amount, flags)
    local hold, sheet, tail = it.hold, it.asked.sheet, {}
    for i = 1, 2 * it.asked[C_LINES] + 1 do tail[i] = 0 end
    local last = #tail
    tail[last + 1], tail[last + 2], tail[last + 3] = hold[H_UNTIL], hold[H_AMOUNT], flags
    local status = kind == COMMIT and COMMITTED or RELEASED
    local until_s, held_amount, bytes = hold[H_UNTIL], hold[H_AMOUNT], hold[H_SHEET]
    return {
      sheet = pack_made(sheet, sheet[3], lines_of(sheet[4], it.names), sheet[5], flags),
      record = pack(status, epoch, until_s, held_amount, amount, bytes, 1, false),
      tail = pack(unpack(tail)),
    }
  end

  -- The same, made once for ends that are alike.
  local function done_of(it, kind, amount, flags, is_all)
    if not is_all then return left_by(it, kind, amount, flags) end
    local key = amount * 4 + flags + (kind == COMMIT and 1 or 0)
    it.done[key] = it.done[key] or left_by(it, kind, amount, flags)
    return it.done[key]
  end

  local function end_hold(at, depth, event, it)
    local amount, is_all, flags = head[at + 6], true, 0
    for d = 1, depth do
      local is_whole = let_go(d, it)
      local is_charged, is_over = charge_level(d, it.asked, amount)
      is_all = is_all and is_whole and is_charged
      if is_over then flags = OVERAGE_FLAG end
    end
    append(at, event, depth)
    local done, hold = done_of(it, head[at], amount, flags, is_all), it.hold
    made_sheets[head[at + 1]] = done.sheet
    keep(place_of_hold(at, depth), done.record, head[4] + hold[H_UNTIL] - now_s)
    local used = pack(now, head[at + 4], epoch, seq, unpack(counts, 1, 2 * it.asked[C_LINES]))
    local values = used .. done.tail
    tell(hold, event, seq, values)
    if head[at + 2] > 0 then record(at, event, hold[H_SHEET], values) end
  end

  -- A commit or release. False when another part has to do it.
  function end_held(at, depth, event)
    local it = hold_to_end(at, depth)
    if not it then return false end
    if full() then
      emit(FULL, 0)
    else
      end_hold(at, depth, event, it)
    end
    return true
  end
end
