-- What wrk asks for, and how it tells what came of it.
--
--   wrk … -- <path> <variety>            %04d in the path is a number below the variety, drawn anew each time
--   wrk … -- <path> <accounts> each <n>  never a path twice: %04d is the account, %d counts up, from the n-th path on
--   wrk … -- <path> 1 post <body>        the same body again and again

local path, variety, each, asked = nil, 1, false, 0
local fixed = nil
-- A generator of its own, so that every run draws the same numbers.
local dice = 20260101

function init(args)
  path, variety = args[1], tonumber(args[2])
  each = args[3] == "each"
  if args[3] == "post" then
    wrk.method, wrk.body = "POST", args[4]
    wrk.headers["Content-Type"] = "application/json"
    wrk.headers["Accept"] = "application/json, text/event-stream"
  end
  if each then
    asked = tonumber(args[4])
  elseif variety == 1 then
    fixed = wrk.format(nil, path)
  end
end

function request()
  if fixed then return fixed end
  if each then
    asked = asked + 1
    return wrk.format(nil, string.format(path, asked % variety, math.floor(asked / variety)))
  end
  dice = (dice * 1103515245 + 12345) % 2147483648
  return wrk.format(nil, string.format(path, math.floor(dice / 65536) % variety))
end

function done(summary, latency, requests)
  local failed = summary.errors
  io.write(string.format(
    '\n{"requests": %d, "seconds": %.6f, "p50": %.4f, "p90": %.4f, "p99": %.4f, "failed": %d}\n',
    summary.requests, summary.duration / 1e6,
    latency:percentile(50) / 1e3, latency:percentile(90) / 1e3, latency:percentile(99) / 1e3,
    failed.connect + failed.read + failed.write + failed.status + failed.timeout))
end
