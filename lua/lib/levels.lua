-- The first part of consume: its arguments, and the levels that requests are about.
-- Most groups only look and add, and no level of theirs holds anything. For them there is a script
-- without the parts between this one and the last, since Lua makes all functions of a chunk anew at
-- each call. It answers WHOLE, with nothing written, when it meets more. In the script with all
-- parts those from lib/claims.lua on are one function, which is called when a request needs them.

-- What is asked. From CLEAR on the script works out what changes, but for a RESERVE.
local LOOK, CLEAR, SET, RESERVE, COMMIT, LATE = 0, 2, 3, 5, 6, 7
local RELEASE, EXPIRE, EXTEND, REFUND, ROLL, GIVE = 8, 9, 10, 11, 12, 13
local DETAILED = 16 -- added to an outcome that is followed by more than used units
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
local C_FIELD, C_WEIGHT, C_CEILING, C_SLICES, C_MORE = 7, 8, 9, 10, 11
-- Of C_MORE: grants, fields of rolling limits by depth, what holds may hold by line, and where
-- grants begin by line; each may be false.
local M_GRANTS, M_ROLLS, M_HOLD_MAX, M_ALLOWANCE = 1, 2, 3, 4
local sheets, slots, decoded = {}, {}, {}
for i = 1, sheet_count do
  local columns = ARGV[1 + i]
  decoded[columns] = decoded[columns] or unpack_all(columns)
  sheets[i], slots[i] = decoded[columns], {}
end
local seq, now_s = meta.seq, math.floor(now / 1000)
-- What the keys after the third hold: decoded states, and records, each new one in its place.
local stored = call('MGET', unpack(KEYS, 4))
for i = 1, head[10] do
  if stored[i] then stored[i] = { unpack_all(stored[i]) } end
end
-- Of the levels that change: their last events before this call.
local last_before, touched, touched_count = {}, {}, 0
local record_places, record_ttls, record_count = {}, {}, 0
-- What the outbox entry will hold.
local events, event_count, links, link_count = {}, 0, { now, 1 }, 2
local made_sheets, made_count = {}, sheet_count
local results, filled = { OK, epoch, seq, now }, 4

local function emit(outcome, extra)
  results[filled + 1], results[filled + 2] = outcome, extra
  filled = filled + 2
end

local function answer(value)
  filled = filled + 1
  results[filled] = value
end

-- Where a state has which count. Most subjects have the same fields in the same order. `holds` has
-- for a field the places and ends of what is held of it, and is nil when nothing is held or
-- carried: then only used units count. What was carried counts though its limit may roll over no
-- more.
local layouts = {}
local function layout_of(fields)
  local layout = layouts[fields]
  if layout then return layout end
  layout = {}
  local place = E_FIELDS
  if string.find(fields, '+', 1, true) then layout.holds, layout.carries = {}, true end
  for field in gmatch(fields, '%S+') do
    place = place + 1
    layout[field] = place
    local at = string.find(field, '@', 1, true)
    if at then
      local of, until_s = sub(field, 1, at - 1), sub(field, at + 1)
      layout.holds = layout.holds or {}
      local held = layout.holds[of] or {}
      held[#held + 1], held[#held + 2] = place, tonumber(until_s)
      layout.holds[of] = held
    end
  end
  -- No field is called like what a layout has beside places: each has a colon.
  layout.count, layout.fields = place - E_FIELDS, fields
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

-- Drops the counters of a state that have ended, with `keeps` only lapsed holds, which nobody
-- needs.
local function drop_ended(state, keeps)
  local place, kept, fields = E_FIELDS, E_FIELDS, {}
  for known in gmatch(state[E_FIELDS], '%S+') do
    place = place + 1
    if keeps and not match(known, '@') or not has_ended(known, now_s) then
      kept = kept + 1
      state[kept], fields[#fields + 1] = state[place], known .. ' '
    end
  end
  for i = #state, kept + 1, -1 do state[i] = nil end
  state[E_FIELDS] = table.concat(fields)
end

-- Of the request at hand by depth: states, their layouts, and where they have the lines' counts;
-- and whether a level of it holds or carries anything.
local levels, places, founds, is_held = {}, {}, {}, false

-- What only the whole script has, and then what only its rarer parts have, once they were made.
local decide_held, end_held, make_rare_parts
local decide_on_claims, not_rolled, finish, rewrite

-- Why the levels of a request cannot be decided upon, and the depth of the first such; or nil. A
-- request that does not go by profiles gives -1 for their versions.
local function not_ready(at, depth)
  local place = at + LEVELS_AT
  is_held = false
  for d = 1, depth do
    local state, version = stored[head[place]], head[place + 1]
    if not state then return LOAD, d end
    if state[E_EPOCH] ~= epoch then return LOAD, d end -- guard: epoch_in_counter
    local is_stale = version >= 0 and version < state[E_VERSION]
    if is_stale then return STALE, d end -- guard: profile_version
    local layout = layout_of(state[E_FIELDS])
    if layout.count > COUNTERS_MAX then
      drop_ended(state, true)
      layout = layout_of(state[E_FIELDS])
      if layout.count > COUNTERS_MAX then return FULL, d end
    end
    if layout.holds then is_held = true end
    levels[d], places[d], place = state, layout, place + 2
  end
end

local EVENT_ID, EVENT_OF = 3, 11 -- columns of an event: its id, and that of the hold it is of

-- The seq and the event with that value in a column which the level of a request had after the seq
-- `since`; 0 when it had none, nil when that cannot be told.
local function event_since(at, depth, since, column, value)
  local place = head[at + LEVELS_AT + 2 * depth - 2]
  local last = last_before[place] or levels[depth][E_LAST]
  for _ = 1, head[7] do
    -- A level that was loaded since then does not know of events that were trimmed before.
    if last <= since then return (last > 0 or since >= meta.floor) and 0 or nil end
    local entry = entry_at(KEYS[2], epoch, last)
    if not entry then return nil end
    local index = last - entry.first + 1
    local found = entry.events[index]
    if found[column] == value then return last, found end
    last = link_of(entry, index, depth)
  end
end

-- Whether an earlier attempt at this operation was applied: its seq, false, or nil when that cannot
-- be told.
local function earlier_attempt(at, event, depth)
  if head[at + 5] < 0 then return false end
  local last, found = event_since(at, depth, head[at + 5], EVENT_ID, sub(event, 5, 20))
  if not found then return last and false end
  -- What ends a hold has one id: another act may have ended it meanwhile.
  return found[2] == string.byte(event, 3) and last
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

-- Whether a counter of a layout has ended.
local function has_ended_ones(layout)
  if layout.has_ended == nil then
    layout.has_ended = false
    for known in gmatch(layout.fields, '%S+') do
      if has_ended(known, now_s) then layout.has_ended = true end
    end
  end
  return layout.has_ended
end

-- Begins so many counters at zero, whose names have a space behind each. Where that is safe, those
-- that have ended are dropped. The place of the first.
local function open_fields(depth, names, count, keeps)
  local state, layout = levels[depth], places[depth]
  if has_ended_ones(layout) then
    drop_ended(state, keeps)
    layout = layout_of(state[E_FIELDS])
  end
  layout.opened = layout.opened or {}
  local opened = layout.opened[names]
  if not opened then
    opened = layout_of(layout.fields .. names)
    layout.opened[names] = opened
  end
  local place = E_FIELDS + layout.count + 1
  for i = place, place + count - 1 do state[i] = 0 end
  state[E_FIELDS], places[depth] = opened.fields, opened
  return place
end

local function open_field(depth, field, keeps)
  return open_fields(depth, field .. ' ', 1, keeps)
end

local function given_sheet(number) return ARGV[1 + sheet_count + number] end
local function raw_sheet(number) return made_sheets[number] or given_sheet(number) end

local function full() return seq - meta.floor >= head[6] end

-- Puts a record in its place, to be written in the end.
local function keep(place, record, ttl_s)
  stored[place], record_count = record, record_count + 1
  record_places[record_count], record_ttls[record_count] = place, ttl_s
end

-- Makes a repetition of an accepted request known: by the sheet that it is measured against, and
-- what the answer has beside.
local function record(at, event, sheet, values)
  local place = head[at + 2]
  if place == 0 then return end
  keep(place, head[at + 3] .. sub(event, 5, 20) .. sheet .. values, head[4])
end

-- Makes an accepted request known by the counts of its answer, which begin there.
local function record_answer(at, event, first, more)
  local values = pack(now, head[at + 4], epoch, seq, unpack(results, first, filled))
  record(at, event, given_sheet(head[at + 1]), values .. (more or ''))
end

-- The answer to a request. The counts of the lines stand behind the outcome already.
local function decided(outcome, extra, count)
  emit(outcome, extra)
  filled = filled + count
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

-- The second at which all sliding limits that have no room for a request have it, if nothing is
-- charged meanwhile; 0 when none of them is why. What it needs is made when it is called: most
-- groups refuse nothing.
local function room_at(number, amount, claims)
  local sheet, last = sheets[number], 0

  -- The second at which so many units have left a sliding limit, the oldest first; all of them,
  -- when there are fewer.
  local function leaves_at(depth, field, slices, units)
    local letter, start = match(field, ':(%a):(%d+)$')
    for k = #slices, 1, -1 do
      local place = places[depth][slices[k]]
      units = units - (place and levels[depth][place] or 0)
      if units <= 0 then return match(slices[k], '%d+$') + LONGEST_S[letter] end
    end
    return start + LONGEST_S[letter]
  end

  -- By how much a line's units pass its ceiling. Its count stands behind the outcome already; `it`
  -- is the line as a claim, where more than used units counts.
  local function excess_of_line(i, it)
    local units = sheet[C_WEIGHT][i] * amount - (it and it.group.spared or 0)
    if units <= 0 then return 0 end
    return results[filled + 2 + i] + (it and it.held or 0) + units - sheet[C_CEILING][i]
  end

  for depth = 1, sheet[C_DEPTH] do
    for i = sheet[C_FROM][depth], sheet[C_TO][depth] do
      local slices = sheet[C_SLICES][i]
      local excess = slices and excess_of_line(i, claims and claims[i]) or 0
      if excess > 0 then
        last = math.max(last, leaves_at(depth, sheet[C_FIELD][i], slices, excess))
      end
    end
  end
  return last
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

-- Charges a level of a request that fits. The counts behind the outcome become those after.
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
