--[[
consume — decide up to 64 requests of one shard, in order and each on its own: add units to every
limit of a subject path or to none, hold them, look without adding, end a hold, or rewrite counters.
One outbox entry holds all accepted events. Its parts are in lib/, in an order
that each says.

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
              { start_ms, end_ms, metric or '', { { letter, from_s, end_s } … }, depth }. To
              refund, roll or give: lines as lib/rewrites.lua says. To end a hold: its record as
              the caller knows it, or nothing
  …  an event msgpack, opaque but for its sheet's number (byte 2) and its id (bytes 5 to 20); of
              a reserve the last two values are the instant until which it holds, and nil
A state is what lib/prelude.lua says beside E_EPOCH.
Returns   msgpack { code, epoch, seq, now_ms, then for each request: outcome, extra … }:
          REFUSED, 0, used … | ACCEPTED, seq, used after … (added, held)
          ACCEPTED, reset_at_ms, used … (looked at) | ACCEPTED, seq, sheet (rewritten)
          those four with DETAILED added, and behind used held …, carried …, granted …, and
          when there is room again (s): held units are free or, below 0, enough have left a window
          that slides
          ACCEPTED, seq, record (a hold) | ENDED, status, amount committed
          REPLAYED, record | LOAD, depth | STALE, depth | ROLL_FIRST, depth | others, 0
Errors    BADARG (caller bug, not retried)
Cost      O(requests x limits): one MGET, one XADD, one HSET, one SET a touched level and a record
Retry     safe with the same event id and the seq seen before the first attempt
]]

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

-- A refusal. One by a sliding limit tells when that has room, behind what is held, carried and
-- granted, which is nothing.
local function refuse_plainly(number, amount, extra, count)
  local room_at_s = room_at(number, amount)
  if room_at_s == 0 then return decided(REFUSED, extra, count) end
  decided(REFUSED + DETAILED, extra, count)
  for i = filled + 1, filled + 3 * count do results[i] = 0 end
  filled = filled + 3 * count
  answer(-room_at_s)
end

-- Decides a request for which only used units count.
local function decide(at, sheet, event)
  local number, amount, count, depth = head[at + 1], head[at + 6], sheet[C_LINES], sheet[C_DEPTH]
  local fits = measure(number, amount)
  if head[at] == LOOK then
    local reset_at = levels[depth][E_RESET]
    if not fits then return refuse_plainly(number, amount, reset_at, count) end
    return decided(ACCEPTED, reset_at, count)
  end
  local known = earlier_attempt(at, event, depth) -- guard: earlier_attempt
  if known == nil then return emit(UNSURE, 0) end -- guard: earlier_attempt
  if known then return decided(ACCEPTED, known, count) end -- guard: earlier_attempt
  if not fits then return refuse_plainly(number, amount, 0, count) end
  if full() then return emit(FULL, 0) end
  for d = 1, depth do add_to_level(number, d, amount) end
  append(at, event, depth)
  local first = filled + 3
  decided(ACCEPTED, seq, count)
  if head[at + 2] > 0 then record_answer(at, event, first) end
end

-- Whether the parts for what is asked most have decided a request for which more counts.
local function serve_held(at, kind, sheet, event)
  if kind < CLEAR or kind == RESERVE then return decide_held(at, sheet, event) end
  if kind == COMMIT or kind == RELEASE then return end_held(at, sheet[C_DEPTH], event) end
  return false
end

-- A request for which more counts, by the whole script.
local function serve_whole(at, kind, sheet, event)
  if serve_held(at, kind, sheet, event) then return end
  if not rewrite then make_rare_parts() end
  local depth = not_rolled(sheet)
  if depth then return emit(ROLL_FIRST, depth) end
  if kind < CLEAR or kind == RESERVE then return decide_on_claims(at, sheet, event) end
  if kind >= COMMIT and kind <= EXTEND then return finish(at, sheet[C_DEPTH], event) end
  return rewrite(at, sheet[C_DEPTH], event)
end

local empty_sheet
-- What is asked in place of a sheet is none: when nothing is made of it an empty one stands there.
local function leave_empty_sheet(kind, number)
  local is_sheet = kind > CLEAR and kind <= RESERVE
  if is_sheet then return end
  empty_sheet = empty_sheet or pack({ 0, 0, '', {}, 1 })
  made_sheets[number] = empty_sheet
end

-- False when another script has to serve the request.
local function serve(at, sheet, event)
  local kind = head[at]
  if kind >= CLEAR then leave_empty_sheet(kind, head[at + 1]) end
  if replayed(at) then return true end
  local is_current = sheet[C_START] <= now and now < sheet[C_END]
  if not is_current then emit(WRONG_WINDOW, 0) return true end -- guard: window
  local away, of_depth = not_ready(at, sheet[C_DEPTH])
  if away then
    emit(away, of_depth)
  elseif not (is_held or sheet[C_MORE] or kind >= CLEAR) then
    decide(at, sheet, event)
  elseif make_rare_parts then
    serve_whole(at, kind, sheet, event)
  else
    return false
  end
  return true
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
end

local function write_records()
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
  if not serve(at, sheet, ARGV[1 + 2 * sheet_count + i]) then
    return pack({ WHOLE, epoch, meta.seq, now })
  end
  local is_of_hold = head[at] >= RESERVE and head[at] <= EXTEND
  at = at + LEVELS_AT + 2 * sheet[C_DEPTH] + (is_of_hold and 2 or 0)
end
if event_count > 0 then write() end
write_records()
results[3] = seq
return pack(results)
