-- The fourth part of consume: what ends a hold, or gives it more time, where lib/held.lua does not.

do
  -- The hold of a request: what Redis has, else what the caller knows of it, with H_READ.
  local function hold_at(place, number)
    local stored_hold = stored[place] and { unpack_all(stored[place]) }
    if stored_hold and stored_hold[H_EPOCH] == epoch then return stored_hold end
    local given = given_sheet(number)
    local hold = given ~= '' and { unpack_all(given) }
    return hold and hold[H_EPOCH] == epoch and hold or nil
  end

  -- Whether a hold has ended by itself. What is logged of it counts for more than the time: a clock
  -- that was ahead may be gone together with the shard's state, which remembered its time.
  local function is_lapsed(hold) return hold[H_STATUS] == EXPIRED or hold[H_UNTIL] <= now_s end

  -- What it was made to hold of a line.
  local function held_at_first(hold, index, line)
    local held = hold[H_HELD]
    if held == 0 then return 0 end
    return held == 1 and line[3] * hold[H_AMOUNT] or held[index]
  end

  -- What it still holds of a line.
  local function own_of(hold, index, line)
    if is_lapsed(hold) then return 0 end
    local held = count_of(line[1], line[2] .. '@' .. format('%d', hold[H_UNTIL]))
    return math.min(held_at_first(hold, index, line), held)
  end

  -- The lines that take what is held out of its counters, and put it into those of another end.
  -- Also to the same end: Postgres goes by what an extension says is held.
  local function lines_to_move(hold, lines, until_s)
    local from, to = '@' .. format('%d', hold[H_UNTIL]), until_s and '@' .. format('%d', until_s)
    local made = {}
    local function move(depth, field, units, ceiling, end_s)
      if units <= 0 then return end
      made[#made + 1] = { depth, field .. from, -units, ceiling, end_s }
      if to then made[#made + 1] = { depth, field .. to, units, ceiling, end_s } end
    end
    for i, line in ipairs(lines) do
      move(line[1], line[2], own_of(hold, i, line), line[4], line[5])
    end
    if is_lapsed(hold) then return made end
    for _, grant in ipairs(hold[H_GRANTS] or {}) do
      local depth, field = grant[1], grant[3]
      move(depth, field, math.min(grant[6], count_of(depth, field .. from)), grant[4], grant[5])
    end
    return made
  end

  -- What a longer hold has of windows that are over, where a load has left it out: Postgres goes by
  -- what an extension says, and the window after may yet begin. No counter has it.
  local function lines_left_out(hold, lines, until_s)
    local from, to = '@' .. format('%d', hold[H_UNTIL]), '@' .. format('%d', until_s)
    local made = {}
    for i, line in ipairs(lines) do
      local depth, field, units = line[1], line[2], held_at_first(hold, i, line)
      local is_over = has_ended(field, now_s) and not match(field, ':[nhNH]:')
      if is_over and units > 0 and not places[depth][field .. from] then
        made[#made + 1] = { depth, field .. from, -units, line[4], line[5] }
        made[#made + 1] = { depth, field .. to, units, line[4], line[5] }
      end
    end
    return made
  end

  local function ceiling_of(line) return line[4] < 0 and UNITS_MAX or line[4] end

  -- Where grants begin: a soft limit has its max behind its mode.
  local function allowance_of(line)
    if line[6] == 1 and line[7] >= 0 then return line[7] end
    return ceiling_of(line)
  end

  -- Adds what the other slices have of a sliding limit, as far as they count now.
  local function add_slices(it)
    local of, letter = match(it.field, '^(.*:(%a):)')
    local slice_s = SLICE_S[letter]
    if not slice_s or has_ended(it.field, now_s) then return end
    local latest = now_s - now_s % slice_s
    for start = latest - 6 * slice_s, latest, slice_s do
      local slice = of .. format('%d', start)
      if slice ~= it.field then
        it.used = it.used + count_of(it.depth, slice)
        add_held(it, slice)
      end
    end
  end

  -- The claims of an amount in the windows in which a hold was made. A commit puts aside what the
  -- hold itself holds; with an amount of 0 they are what everybody has.
  local function claims_of_hold(hold, lines, amount)
    local groups, by_line = {}, {}
    for i, line in ipairs(lines) do
      local depth, field = line[1], line[2]
      local units, used = line[3] * amount, count_of(depth, field)
      local it = claim(depth, field, units, ceiling_of(line), allowance_of(line), used)
      if amount > 0 then it.held = it.held - own_of(hold, i, line) end
      add_slices(it)
      it.end_s = line[5]
      by_line[i] = add_claim(groups, it)
    end
    add_grants(groups, hold[H_GRANTS] or {}, amount > 0 and not is_lapsed(hold))
    return groups, by_line
  end

  -- The lines of a commit, and whether it passes a limit. Nothing changes yet. A counter that is as
  -- large as counters are stays so.
  local function lines_to_commit(hold, lines, amount)
    local made = lines_to_move(hold, lines)
    if amount == 0 then return made, false end
    local groups, by_line = claims_of_hold(hold, lines, amount)
    share_out(groups)
    local is_overage = false
    for _, it in ipairs(by_line) do
      local units = it.units - it.group.spared
      if units > 0 and it.used + it.held + units > it.ceiling then is_overage = true end
      units = math.min(units, UNITS_MAX - it.used)
      if units > 0 then
        local limit = it.allowance < UNITS_MAX and it.allowance - it.carried or -1
        made[#made + 1] = { it.depth, it.field, units, limit, it.end_s }
      end
    end
    return grant_lines(groups, made), is_overage
  end

  -- What a caller is told of a hold: the counts of its lines as they are now, until when it was
  -- held, its amount and its flags; and the place of the event that says so.
  local function told(at, hold, lines, flags, at_seq)
    local groups, by_line = claims_of_hold(hold, lines, 0)
    share_out(groups)
    local used, held, carried, granted = {}, {}, {}, {}
    for i, it in ipairs(by_line) do
      used[i], held[i], carried[i], granted[i] = it.used, it.held, it.carried, it.group.granted
    end
    local values = { now, head[at + 4], epoch, at_seq }
    for _, column in ipairs({ used, held, carried, granted }) do
      for i = 1, #lines do values[#values + 1] = column[i] end
    end
    local count = #values
    values[count + 1], values[count + 2], values[count + 3] = 0, hold[H_UNTIL], hold[H_AMOUNT]
    values[count + 4] = flags
    return pack(unpack(values))
  end

  local function settle_hold(at, hold, event, place, status, made, flags)
    local depth, asked = sheets[head[at + 1]][C_DEPTH], unpack_all(hold[H_SHEET])
    append(at, event, depth)
    made_sheets[head[at + 1]] = pack_made(asked, asked[3], made, depth, flags)
    hold[H_STATUS] = status
    local is_committed = status == COMMITTED or status == COMMITTED_LATE
    hold[H_ENDED] = is_committed and head[at + 6] or 0
    keep_hold(place, hold)
    local values = told(at, hold, asked[4], flags, seq)
    tell(hold, event, seq, values)
    record(at, event, hold[H_SHEET], values)
  end

  -- Why a request cannot be made of a hold of that status, or nil.
  local function hold_refuses(kind, hold)
    local status = hold[H_STATUS]
    if kind == LATE then return status ~= EXPIRED and status or nil end
    if status ~= OPEN then return status end
    local needs_time = kind == RELEASE or kind == EXTEND
    return needs_time and is_lapsed(hold) and EXPIRED or nil
  end

  local function commit(at, hold, event, place, extra)
    local lines, amount = unpack_all(hold[H_SHEET])[4], head[at + 6]
    local made, is_overage = lines_to_commit(hold, lines, amount)
    if extra == 1 and is_overage and amount > hold[H_AMOUNT] then return emit(REFUSED, 0) end
    local late, status = is_lapsed(hold), COMMITTED
    if late then status = COMMITTED_LATE end
    local flags = (late and LATE_FLAG or 0) + (is_overage and OVERAGE_FLAG or 0)
    apply(made)
    settle_hold(at, hold, event, place, status, made, flags)
  end

  local function extend(at, hold, event, place, until_s)
    local lines = unpack_all(hold[H_SHEET])[4]
    local left_out, made = lines_left_out(hold, lines, until_s), lines_to_move(hold, lines, until_s)
    apply(made)
    for i = 1, #left_out do made[#made + 1] = left_out[i] end
    hold[H_UNTIL] = until_s
    settle_hold(at, hold, event, place, OPEN, made, 0)
  end

  local function end_hold(at, hold, event, place, extra)
    local kind = head[at]
    if kind == COMMIT or kind == LATE then return commit(at, hold, event, place, extra) end
    if kind == EXTEND then return extend(at, hold, event, place, extra) end
    if kind == EXPIRE then
      if not is_lapsed(hold) then return emit(REFUSED, 0) end
      return settle_hold(at, hold, event, place, EXPIRED, {}, 0)
    end
    local made = lines_to_move(hold, unpack_all(hold[H_SHEET])[4])
    apply(made)
    settle_hold(at, hold, event, place, RELEASED, made, 0)
  end

  -- What an earlier attempt is told again.
  local function tell_again(at, hold, event, known)
    local entry = entry_at(KEYS[2], epoch, known)
    local made = entry.sheets[entry.events[known - entry.first + 1][1] + 1]
    local lines, flags = unpack_all(hold[H_SHEET])[4], made[6]
    tell(hold, event, known, told(at, hold, lines, flags, known))
  end

  -- A commit, release, expire or extend.
  function finish(at, depth, event)
    local place = at + LEVELS_AT + 2 * depth
    local hold = hold_at(head[place], head[at + 1])
    if not hold then return emit(NO_HOLD, 0) end
    local known = earlier_attempt(at, event, depth)
    if known == nil then return emit(UNSURE, 0) end
    if known then return tell_again(at, hold, event, known) end
    -- Something has become of it since the caller read the log, which tells what after a flush.
    local read, id = hold[H_READ], sub(KEYS[3 + head[place]], -16)
    if read and event_since(at, depth, read, EVENT_OF, id) ~= 0 then return emit(NO_HOLD, 0) end
    hold[H_READ] = nil
    local status = hold_refuses(head[at], hold)
    if status then
      emit(ENDED, status)
      return answer(hold[H_ENDED])
    end
    if full() then return emit(FULL, 0) end
    end_hold(at, hold, event, head[place], head[place + 1])
  end
end
