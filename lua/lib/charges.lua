-- The fifth part of consume: decisions for which more than used units counts, and holds.

do
  -- The answer to a request, with what counts beside used units.
  local function decided_in_detail(outcome, extra, by_line, free_again)
    decided(outcome + DETAILED, extra, #by_line)
    detail(by_line, free_again or 0)
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
    for i = #by_line + 1, #lines do
      add_to(lines[i][1], lines[i][2] .. suffix, lines[i][3], false)
    end
    return lines
  end

  -- A request that does not fit: whether only because of what is held, and until when; else until
  -- when because of sliding limits, below 0.
  local function refuse(at, extra, groups, by_line)
    share_out(groups)
    -- Nothing is taken: grants have what they had.
    for _, group in ipairs(groups) do group.granted = group.granted + group.spared end
    local free_again = all_fit(groups, true) and free_at(groups)
    free_again = free_again or -room_at(head[at + 1], head[at + 6], by_line)
    decided_in_detail(REFUSED, extra, by_line, free_again)
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
    decided_in_detail(ACCEPTED, seq, by_line)
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
    decided_in_detail(outcome, extra, by_line)
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
  function decide_on_claims(at, sheet, event)
    local depth, known = sheet[C_DEPTH], false
    measure(head[at + 1], head[at + 6])
    if head[at] ~= LOOK then
      known = earlier_attempt(at, event, depth) -- guard: earlier_attempt
    end
    if known == nil then return emit(UNSURE, 0) end -- guard: earlier_attempt
    local groups, by_line = claims_of(head[at + 1], head[at + 6], head[at] == RESERVE)
    if known then return show(ACCEPTED, known, groups, by_line) end
    if held_before(at, depth) then return end
    local reset_at = head[at] == LOOK and levels[depth][E_RESET]
    if not all_fit(groups, false) then return refuse(at, reset_at or 0, groups, by_line) end
    if reset_at then return show(ACCEPTED, reset_at, groups, by_line) end
    if full() then return emit(FULL, 0) end
    accept(at, event, groups, by_line)
  end

  -- The first level on which a limit that rolls over has a window that nobody opened yet.
  function not_rolled(sheet)
    local rolls = sheet[C_MORE] and sheet[C_MORE][M_ROLLS]
    for depth = 1, rolls and sheet[C_DEPTH] or 0 do
      for _, field in ipairs(rolls[depth]) do
        if not places[depth][field] and not places[depth][field .. '+'] then return depth end
      end
    end
  end
end
