-- Sends prebuilt requests of one fixed size from a file, each of them once.
-- Arguments: FILE REQUEST_SIZE REQUESTS PAUSE_MS. One thread. Prints one line of JSON at the end.

local the_thread

function setup(thread)
  the_thread = thread
end

function init(args)
  size = tonumber(args[2])
  remaining = tonumber(args[3])
  exhausted = 0
  pool = assert(io.open(args[1], "rb"))
  pause = tonumber(args[4])
  if pause == 0 then delay = nil end -- wrk asks no function that is not there
end

function delay()
  return pause
end

function request()
  if remaining == 0 then
    exhausted = 1 -- the run is void; wrk has no clean way to stop here
    return last
  end
  remaining = remaining - 1
  last = pool:read(size)
  return last
end

function done(summary, latency, requests)
  local errors = summary.errors
  io.write(string.format(
    '\nRESULT {"requests": %d, "duration_us": %d, "p50_us": %d, "p99_us": %d, "max_us": %d, ' ..
    '"bad_status": %d, "connection_errors": %d, "timeouts": %d, "exhausted": %d}\n',
    summary.requests, summary.duration, latency:percentile(50), latency:percentile(99),
    latency.max, errors.status, errors.connect + errors.read + errors.write, errors.timeout,
    the_thread:get("exhausted")))
end
