-- Everything that Redis holds, as one text. The order of a level's counters says nothing, nor does
-- that of a hash's fields.
local function text_of(value)
  if type(value) == 'number' then return string.format('%.17g', value) end
  if type(value) == 'boolean' then return tostring(value) end
  if type(value) ~= 'table' then return value end
  local texts = {}
  for i = 1, #value do texts[i] = text_of(value[i]) end
  return '{' .. table.concat(texts, ',') .. '}'
end

local function level_of(raw)
  local is_whole, state = pcall(function() return { cmsgpack.unpack(raw) } end)
  if not is_whole or type(state[7]) ~= 'string' then return raw end
  local counters, place = {}, 7
  for field in string.gmatch(state[7], '%S+') do
    place = place + 1
    counters[#counters + 1] = field .. '=' .. text_of(state[place] or 'none')
  end
  table.sort(counters)
  local head = {}
  for i = 1, 6 do head[i] = state[i] end
  return text_of(head) .. table.concat(counters, ' ') .. ' of ' .. #state
end

local function hash_of(key)
  local pairs_of, got = {}, redis.call('HGETALL', key)
  for i = 1, #got, 2 do pairs_of[#pairs_of + 1] = got[i] .. '=' .. got[i + 1] end
  table.sort(pairs_of)
  return table.concat(pairs_of, ' ')
end

local function value_of(key)
  local kind = redis.call('TYPE', key).ok
  if kind == 'hash' then return hash_of(key) end
  if kind == 'list' then return text_of(redis.call('LRANGE', key, 0, -1)) end
  if kind == 'stream' then return text_of(redis.call('XRANGE', key, '-', '+')) end
  local raw = redis.call('GET', key)
  return string.match(key, '^hr:{%d+}:s:') and level_of(raw) or raw
end

local keys, texts = redis.call('KEYS', '*'), {}
table.sort(keys)
for i, key in ipairs(keys) do
  texts[i] = key .. ' until ' .. redis.call('PEXPIRETIME', key) .. ': ' .. value_of(key)
end
return table.concat(texts, '\n')
