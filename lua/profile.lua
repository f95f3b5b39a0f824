--[[
profile — after a change of profiles is committed in Postgres: whoever decides by an older one is
sent away from now on.

KEYS: 1 + 2 a subject
  1  meta     hash    epoch, profiles: the version of the newest profile that was announced
  …  for each subject its state and its profile, both strings
ARGV: 1 + 2 a subject
  1  idle_ttl_s  integer
  …  for each subject the version, an integer, and the profile, JSON text
Returns   how many of the subjects are loaded
Errors    none of its own
Cost      O(subjects)
Retry     safe: an older version changes nothing
]]

local meta = call('HMGET', KEYS[1], 'epoch', 'profiles')
local epoch, old = tonumber(meta[1]), tonumber(meta[2]) or 0
local newest, loaded = old, 0
for i = 2, #ARGV, 2 do newest = math.max(newest, tonumber(ARGV[i])) end
-- A load that read Postgres before this change is refused, and can bring no older profile back.
if newest > old then call('HSET', KEYS[1], 'profiles', format('%.0f', newest)) end

-- The state under the key, unless it is of another epoch, which is as good as none.
local function read_state(key)
  local raw = call('GET', key)
  local state = raw and { unpack_all(raw) }
  return state and state[E_EPOCH] == epoch and state
end

for i = 2, #ARGV, 2 do
  local version, state = tonumber(ARGV[i]), read_state(KEYS[i])
  if state then loaded = loaded + 1 end
  -- A request may have raised the version before, without the profile.
  if state and state[E_VERSION] <= version then
    state[E_VERSION] = version
    call('SET', KEYS[i + 1], pack(version, ARGV[i + 1]), 'EX', ARGV[1])
    call('SET', KEYS[i], pack(unpack(state)), 'KEEPTTL')
  end
end
return loaded
