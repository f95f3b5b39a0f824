-- Shared by the scripts that follow it: Redis gives each script one chunk, so this text is put in
-- front of each.
-- A line that ends in `-- guard: NAME` can be taken out by a test, which must then fail.

local call, sub, format = redis.call, string.sub, string.format
local match, gmatch = string.match, string.gmatch
local pack, unpack_all = cmsgpack.pack, cmsgpack.unpack

-- What a whole call may answer. OK is followed by one result a request.
local OK, UNINIT, FENCED, EPOCH, ROLLBACK, BEHIND, WRONG_CLOCK, WHOLE = 0, 1, 2, 3, 4, 5, 6, 7
-- What one request may answer.
local REFUSED, ACCEPTED, REPLAYED, MISMATCH, LOAD = 0, 1, 2, 3, 4
local STALE, WRONG_WINDOW, UNSURE, FULL = 5, 6, 7, 8
local NO_HOLD, ENDED, ROLL_FIRST, NO_PREVIOUS = 9, 10, 11, 12
-- The largest count that a Lua number, an f64, holds exactly.
local UNITS_MAX = 9007199254740991
-- A level's state is a string of msgpack values: the epoch in which it was loaded, the version of
-- its profile, the seq of its last event, the cursor at its load, when it was touched (s), when it
-- was last cleared (ms), its counters' fields with a space behind each, and their counts.
local E_EPOCH, E_VERSION, E_LAST, E_BASE, E_TOUCHED, E_RESET, E_FIELDS = 1, 2, 3, 4, 5, 6, 7
-- No window of a period is longer than this, in any time zone (a zone puts its clocks back by two
-- hours at most); by the letter in a field's name. Capital letters are slices, which count for six
-- more of their kind; a grant has its end in the place of a start. A window is not over before,
-- whatever its calendar said of its end: another calendar may be put for the subject, and taken
-- back.
local LONGEST_S = {
  n = 60, h = 3600, d = 93600, w = 612000, m = 2685600, l = 253402214400, N = 70, H = 4200, g = 0,
}
-- How long a slice lasts.
local SLICE_S = { N = 10, H = 600 }

-- Whether a counter counts no more: its hold has lapsed, or no calendar has its window any more.
-- Behind the start of a field's window may stand the number of a grant, and `@` with the second
-- until which units are held, `+` for carried or `-` for refunded ones.
local function has_ended(field, now_s)
  local letter, start, rest = match(field, ':(%a):(%d+)(.*)$')
  local until_s = rest ~= '' and match(rest, '@(%d+)$')
  if until_s and tonumber(until_s) <= now_s then return true end
  return tonumber(start) + LONGEST_S[letter] <= now_s
end

local function read_meta(key)
  local got = call('HMGET', key, 'epoch', 'seq', 'floor', 'fence', 'now')
  return {
    epoch = tonumber(got[1]),
    seq = tonumber(got[2]) or 0,
    floor = tonumber(got[3]) or 0,
    fence = got[4],
    now = tonumber(got[5]) or 0,
  }
end

-- Redis' time in ms, moved by the test offset, and never before an instant that was already used.
local function read_now(meta, offset_ms)
  local time = call('TIME')
  local now = time[1] * 1000 + math.floor(time[2] / 1000) + offset_ms
  if now < meta.now then return meta.now end
  return now
end

-- Why a shard cannot serve the caller, or OK.
local function shard_code(meta, epoch, seen_seq)
  if meta.fence then return FENCED end -- guard: fence
  if not meta.epoch then return UNINIT end
  if meta.epoch ~= epoch then return EPOCH end -- guard: epoch
  if meta.seq < seen_seq then return ROLLBACK end -- guard: seen_seq
  return OK
end

-- The outbox entry that holds the event `seq`, decoded; nil when it is not there. Entries are read
-- once.
local entries = {}
local last_entry
local function entry_at(out, epoch, seq)
  if last_entry and last_entry.first <= seq and seq <= last_entry.last then return last_entry end
  local from, to = format('%.0f-%.0f', epoch, seq), format('%.0f', epoch)
  local got = call('XRANGE', out, from, to, 'COUNT', 1)
  if not got[1] then return nil end
  local entry = entries[got[1][1]]
  if not entry then
    entry = { last = tonumber(match(got[1][1], '%-(%d+)$')) }
    local fields = got[1][2]
    for i = 1, #fields, 2 do
      local name, value = fields[i], fields[i + 1]
      if name == 'h' then
        entry.links = unpack_all(value)
        entry.now = entry.links[1]
      elseif name == 's' then
        entry.sheets = { unpack_all(value) }
      else
        entry.events = { unpack_all(value) }
      end
    end
    entry.first = entry.last - #entry.events + 1
    entries[got[1][1]] = entry
  end
  if seq < entry.first then return nil end
  last_entry = entry
  return entry
end

-- The seq of the previous event of the level at `depth` before the entry's event at `index`; 0 for
-- none. The links follow the time and the number of links an event.
local function link_of(entry, index, depth)
  return entry.links[2 + (index - 1) * entry.links[2] + depth]
end
