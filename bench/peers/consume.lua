-- wrk's script: each request has an idempotency key of its own and one of so many subjects.
-- usage: wrk … -s consume.lua URL -- API_KEY RUN SUBJECTS [FIRST]
-- With FIRST the subjects come one after the other from there on, else by chance.

-- luacheck: globals init request done

local api_key, run, subjects, next_subject
local sent = 0

function init(arguments)
  api_key, run, subjects = arguments[1], arguments[2], tonumber(arguments[3])
  next_subject = tonumber(arguments[4])
  math.randomseed(tonumber(run))
end

local function subject()
  if not next_subject then return math.random(subjects) end
  next_subject = next_subject + 1
  return (next_subject - 1) % subjects + 1
end

function request()
  sent = sent + 1
  local body = '{"subject":"user:u_' .. subject() .. '","model":"claude-sonnet-4"}'
  return 'POST /v1/consume HTTP/1.1\r\nHost: bench\r\nAuthorization: Bearer ' .. api_key
    .. '\r\nContent-Type: application/json\r\nIdempotency-Key: "' .. run .. '-' .. sent
    .. '"\r\nContent-Length: ' .. #body .. '\r\n\r\n' .. body
end

function done(summary, latency)
  local errors = summary.errors
  local failed = errors.connect + errors.read + errors.write + errors.timeout
  local form = '{"requests":%d,"duration_us":%d,"p50_us":%d,"p99_us":%d,"refused":%d,"failed":%d}\n'
  local p50, p99 = latency:percentile(50), latency:percentile(99)
  io.write(form:format(summary.requests, summary.duration, p50, p99, errors.status, failed))
end
