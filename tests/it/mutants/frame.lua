local redis = (function(outer, at)
  -- The time is the one at which the call was recorded, and keys go at a set instant, so that two
  -- runs of the same calls leave the same. What a script writes first is told: an event has to be
  -- in the outbox before it is anywhere else.
  local writes = { DEL = 1, HDEL = 1, HSET = 1, SET = 1, UNLINK = 1, XADD = 1, XTRIM = 1 }
  local has_written = false
  local function call(name, ...)
    if name == 'TIME' then return { string.match(at, '^%d+'), string.match(at, '%d+$') } end
    local given, count = { ... }, select('#', ...)
    if writes[name] and not has_written then
      outer.call('RPUSH', 'first writes', name .. ' ' .. given[1])
      has_written = true
    end
    if given[count - 1] == 'EX' and tonumber(given[count]) > 0 then
      given[count - 1], given[count] = 'EXAT', string.format('%d', 4102444800 + given[count])
    end
    return outer.call(name, unpack(given, 1, count))
  end
  return setmetatable({ call = call }, { __index = outer })
end)(redis, table.remove(ARGV))
