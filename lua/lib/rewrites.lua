-- The sixth part of consume: what rewrites counters. The lines of what is asked say which, those
-- that are made say what changed.

do
  -- The record of a gift that was refused, which is no gift's fingerprint: who asks for it again is
  -- refused, too, though the giver has the units by then.
  local NOT_GIVEN = 'refused!'

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
        local end_s = end_s_of(letter, start, window[3])
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
      local state, place = levels[depth], places[depth][field] or open_field(depth, field, true)
      local before = state[place]
      local after = is_set and amount or math.max(0, before - amount)
      state[place] = after
      lines[#lines + 1] = { depth, field, after - before, -1, line[5], after }
      local left = is_set and UNITS_MAX or amount - (before - after)
      if slices then take_from_slices(lines, depth, slices, left) end
    end
    return lines
  end

  -- What refunds gave back of a counter's limit: the units, where more of them are counted, and the
  -- end of that. A sliding limit has it in the slice of the refund, and goes by all that count.
  local function given_back(depth, field, end_s)
    local name, letter = match(field, '^(.-:(%a):)')
    local slice_s, units = SLICE_S[letter], 0
    if not slice_s then return count_of(depth, field .. '-'), field .. '-', end_s end
    local start = now_s - now_s % slice_s
    for at = start, now_s - LONGEST_S[letter] + 1, -slice_s do
      units = units + count_of(depth, format('%s%d-', name, at))
    end
    return units, format('%s%d-', name, start), start + slice_s
  end

  -- What an event took that is given back, where its window goes on and the cap on refunds allows
  -- it: { depth, field, units, the most that refunds give back in the window or -1, end_s }. What
  -- a slice has counts beyond its end.
  local function lines_to_refund(lines)
    local made = {}
    for i = 1, #lines do
      local depth, field, asked, cap, end_s = unpack(lines[i])
      local units = math.min(asked, count_of(depth, field))
      local given, noted, noted_end_s = given_back(depth, field, end_s)
      local is_open = end_s > now_s or SLICE_S[match(field, ':(%a):')]
      if cap >= 0 and given + units > cap then units = 0 end
      if is_open and not has_ended(field, now_s) and units > 0 then
        made[#made + 1] = { depth, field, -units, -1, end_s }
        if cap >= 0 then made[#made + 1] = { depth, noted, units, -1, noted_end_s } end
      end
    end
    apply(made)
    return made
  end

  -- What was used of the window before, and what had been carried into it: -1 when Redis does not
  -- know, -2 when nothing was counted in it.
  local function used_before(depth, line)
    local before, plus = line[7], line[7] .. '+'
    local held = held_of(depth, before)
    if places[depth][before] or places[depth][plus] then
      return count_of(depth, before) + held, count_of(depth, plus)
    end
    -- What is held is not among what was used, but it may be all that there is. Redis has all of it
    -- or, after a load that came long after the window, nothing.
    if held == 0 then held = line[6] end
    if held > 0 and line[8] ~= -1 then return math.max(0, line[8]) + held, line[9] end
    return line[8], line[9]
  end

  -- What windows leave to the next: { depth, field, most that is carried, max, end_s, held of the
  -- window before as Postgres has it, the field of that window, used and carried of it as Postgres
  -- has it }. nil when Postgres has to be asked.
  local function lines_to_roll(lines)
    local made = {}
    for i = 1, #lines do
      local line = lines[i]
      local depth, field = line[1], line[2]
      local plus = field .. '+'
      if not places[depth][plus] and not places[depth][field] then
        local used, carried = used_before(depth, line)
        if used == -1 then return nil end
        local unused = used < 0 and 0 or line[4] - math.max(0, used - carried)
        made[#made + 1] = { depth, plus, math.max(0, math.min(line[3], unused)), -1, line[5] }
      end
    end
    apply(made)
    return made
  end

  -- What is given away of grants, the first first: { depth, field, 0, amount, end_s }. Nothing when
  -- they do not have as much.
  local function lines_to_give(lines, wanted)
    local made, missing = {}, wanted
    for i = 1, #lines do
      local depth, field, _, amount, end_s = unpack(lines[i])
      local left = math.max(0, amount - count_of(depth, field) - held_of(depth, field))
      local units = end_s > now_s and math.min(missing, left) or 0
      if units > 0 then made[#made + 1] = { depth, field, units, amount, end_s } end
      missing = missing - units
    end
    if missing > 0 then return {} end
    apply(made)
    return made
  end

  -- Changes the counters. The lines that say so; nil and what to answer when nothing was changed.
  local function lines_of(kind, number, depth, asked, amount)
    local lines, made = asked[4]
    if kind == CLEAR then return lines_to_clear(levels[depth], asked) end
    if kind == REFUND then
      made = lines_to_refund(lines)
    elseif kind == GIVE then
      made = lines_to_give(lines, amount)
    elseif kind == ROLL then
      made = lines_to_roll(lines)
      if not made then return nil, NO_PREVIOUS end
    else
      return lines_to_set(number, asked, kind == SET, amount)
    end
    if #made == 0 then return nil, REFUSED end
    return made
  end

  -- The sheet that an earlier attempt made.
  local function sheet_made_at(known)
    local entry = entry_at(KEYS[2], epoch, known)
    return pack(entry.sheets[entry.events[known - entry.first + 1][1] + 1])
  end

  -- Changes the counters, and makes the sheet that says so. False when there was nothing to change.
  local function make_changes(at, depth, event)
    local kind, number, counts = head[at], head[at + 1], {}
    local asked = unpack_all(given_sheet(number))
    local lines, refusal = lines_of(kind, number, depth, asked, head[at + 6])
    if not lines then
      if kind == GIVE and head[at + 2] > 0 then keep(head[at + 2], NOT_GIVEN, head[4]) end
      emit(refusal, 0)
      return false
    end
    append(at, event, depth)
    local plan = kind == CLEAR and '' or asked[3]
    made_sheets[number] = pack_made(asked, plan, lines, depth, 0)
    emit(ACCEPTED, seq)
    for i = 1, #lines do counts[i] = lines[i][6] or 0 end
    record(at, event, made_sheets[number], pack(now, head[at + 4], epoch, seq, unpack(counts)))
    return true
  end

  function rewrite(at, depth, event)
    local known = earlier_attempt(at, event, depth)
    if known == nil then return emit(UNSURE, 0) end
    if known then
      emit(ACCEPTED, known)
    else
      if full() then return emit(FULL, 0) end
      if not make_changes(at, depth, event) then return end
    end
    answer(known and sheet_made_at(known) or made_sheets[head[at + 1]])
  end
end
