-- The third part of consume: what requests claim where more than used units counts, which is what
-- is held, carried over or granted.
-- A unit is taken from the plan, in each of its limits on the metric and level, or from a grant.

-- Whether nobody asks for a counter any more. A window that is over and known may yet roll over,
-- and what is held in it then counts as used.
local function is_gone(depth, field)
  local until_s = match(field, '@(%d+)$')
  if until_s then return tonumber(until_s) <= now_s end
  local known = places[depth]
  return has_ended(field, now_s) and not (known[field] or known[field .. '+'])
end

-- Adds units to a counter that is not gone. A hold of nothing is not kept.
local function add_to(depth, field, units, keeps)
  if is_gone(depth, field) then return end
  local slot = places[depth][field] or open_field(depth, field, keeps)
  local state = levels[depth]
  state[slot] = state[slot] + units
  if state[slot] == 0 and match(field, '@') then close_field(depth, field) end
end

-- Adds the units of lines as the outbox has them.
local function apply(lines)
  for i = 1, #lines do add_to(lines[i][1], lines[i][2], lines[i][3], true) end
end

-- A line of a request as a claim. What is carried adds to where the limit and grants begin.
local function claim(depth, field, units, ceiling, allowance, used)
  local held, free_at = held_of(depth, field)
  local carried = count_of(depth, field .. '+')
  return {
    depth = depth, field = field, units = units, carried = carried,
    ceiling = math.min(UNITS_MAX, ceiling + carried),
    allowance = math.min(UNITS_MAX, allowance + carried),
    used = used, held = held, free_at = free_at,
  }
end

-- Claims on one level and metric, with its grants in the order in which they are used up.
local function group_of(groups, depth, field)
  local metric = match(field, '^[^:]+')
  local name = depth .. metric
  local group = groups[name]
  if not group then
    group = { depth = depth, metric = metric, claims = {}, grants = {} }
    groups[name], groups[#groups + 1] = group, group
  end
  return group
end

local function add_claim(groups, it)
  local group = group_of(groups, it.depth, it.field)
  it.group, group.claims[#group.claims + 1] = group, it
  return it
end

-- With `is_own`, what the hold at hand has of a grant is put aside.
local function add_grants(groups, grants, is_own)
  for i = 1, #grants do
    local depth, metric, field, amount, end_s = unpack(grants[i])
    local group = groups[depth .. metric]
    if group and end_s > now_s then
      local held, free_at = held_of(depth, field)
      if is_own then held = math.max(0, held - grants[i][6]) end
      group.grants[#group.grants + 1] = {
        field = field, amount = amount, end_s = end_s, used = count_of(depth, field), held = held,
        free_at = free_at,
      }
    end
  end
end

-- How much of its units a group has to take from grants, and what its grants have.
local function excess_of(group, ignores_holds)
  local excess, granted = 0, 0
  for _, it in ipairs(group.claims) do
    local taken = it.used + (ignores_holds and 0 or it.held)
    local over = taken + it.units - it.allowance
    excess = math.max(excess, math.min(it.units, over))
  end
  for _, it in ipairs(group.grants) do
    granted = granted + math.max(0, it.amount - it.used - (ignores_holds and 0 or it.held))
  end
  return excess, granted
end

-- Whether the claims fit once `spared` units come from grants.
local function fits_beside(group, spared, ignores_holds)
  for _, it in ipairs(group.claims) do
    local units, held = it.units - spared, ignores_holds and 0 or it.held
    if units > 0 then
      if it.used + held + units > it.ceiling then return false end
      if it.hold_max and held + units > it.hold_max then return false end
    end
  end
  return true
end

local function fits(group, ignores_holds)
  local excess, granted = excess_of(group, ignores_holds)
  return fits_beside(group, math.min(excess, granted), ignores_holds)
end

local function all_fit(groups, ignores_holds)
  for _, group in ipairs(groups) do
    if not fits(group, ignores_holds) then return false end
  end
  return true
end

-- When the first unit that is held of a group is free again; nil when nothing is.
local function first_free(group)
  local first = nil
  for _, list in ipairs({ group.claims, group.grants }) do
    for _, it in ipairs(list) do
      if it.free_at and (not first or it.free_at < first) then first = it.free_at end
    end
  end
  return first
end

-- When all groups that do not fit have a held unit less; 0 when nothing is held of them.
local function free_at(groups)
  local last = 0
  for _, group in ipairs(groups) do
    if not fits(group, false) then last = math.max(last, first_free(group) or 0) end
  end
  return last
end

-- Takes what the plan has no room for from grants: the first first. Leaves in each group what its
-- claims are spared and what its grants have left, and says whether anything was taken.
local function share_out(groups)
  local is_any = false
  for _, group in ipairs(groups) do
    local excess, granted = excess_of(group, false)
    local left = math.min(excess, granted)
    group.spared, group.granted = left, granted - left
    for _, it in ipairs(group.grants) do
      it.taken = math.min(left, math.max(0, it.amount - it.used - it.held))
      left = left - it.taken
      is_any = is_any or it.taken > 0
    end
  end
  return is_any
end

-- Adds what is held of another slice of a sliding limit.
local function add_held(it, field)
  local held, first = held_of(it.depth, field)
  it.held = it.held + held
  if first and (not it.free_at or first < it.free_at) then it.free_at = first end
end

local function claim_of_line(sheet, more, depth, i, amount)
  local field, ceiling = sheet[C_FIELD][i], sheet[C_CEILING][i]
  local allowances, hold_max = more[M_ALLOWANCE], more[M_HOLD_MAX]
  local it = claim(
    depth, field, sheet[C_WEIGHT][i] * amount, ceiling, allowances and allowances[i] or ceiling,
    results[filled + 2 + i]
  )
  for _, earlier in ipairs(sheet[C_SLICES][i] or {}) do
    add_held(it, earlier)
  end
  if hold_max and hold_max[i] >= 0 then it.hold_max = hold_max[i] end
  return it
end

-- The claims of a request by its sheet. The counts of its lines stand behind the outcome already.
local function claims_of(number, amount, is_hold)
  local sheet, groups, by_line = sheets[number], {}, {}
  local more = sheet[C_MORE] or {}
  for depth = 1, sheet[C_DEPTH] do
    for i = sheet[C_FROM][depth], sheet[C_TO][depth] do
      local it = claim_of_line(sheet, more, depth, i, amount)
      if not is_hold then it.hold_max = nil end
      by_line[i] = add_claim(groups, it)
    end
  end
  add_grants(groups, more[M_GRANTS] or {})
  return groups, by_line
end

-- What an answer has beside the used units of its lines: what is held, carried and left of grants,
-- line by line, and when a request that was refused may have room.
local function detail(by_line, free_again)
  local count = #by_line
  for i = 1, count do
    local it = by_line[i]
    results[filled + i], results[filled + count + i] = it.held, it.carried
    results[filled + 2 * count + i] = it.group.granted
  end
  results[filled + 3 * count + 1] = free_again
  filled = filled + 3 * count + 1
end

-- What is taken of grants, as lines of a sheet; to hold it, until then.
local function grant_lines(groups, lines)
  for _, group in ipairs(groups) do
    for _, it in ipairs(group.grants) do
      if it.taken > 0 then
        lines[#lines + 1] = { group.depth, it.field, it.taken, it.amount, it.end_s }
      end
    end
  end
  return lines
end
