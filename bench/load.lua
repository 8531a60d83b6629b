-- Sends prebuilt requests of one fixed size from a file, each of them once.
-- Arguments: FILE REQUEST_SIZE REQUESTS_PER_THREAD. Prints one line of JSON at the end.

local threads = {}

function setup(thread)
  thread:set("slot", #threads)
  table.insert(threads, thread)
end

function init(args)
  size = tonumber(args[2])
  remaining = tonumber(args[3])
  exhausted = 0
  pool = assert(io.open(args[1], "rb"))
  pool:seek("set", slot * remaining * size) -- every thread has a slice of its own
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
  local ran_out = 0
  for _, thread in ipairs(threads) do
    ran_out = ran_out + thread:get("exhausted")
  end
  local errors = summary.errors
  io.write(string.format(
    '\nRESULT {"requests": %d, "duration_us": %d, "p50_us": %d, "p99_us": %d, "max_us": %d, ' ..
    '"bad_status": %d, "connection_errors": %d, "timeouts": %d, "exhausted": %d}\n',
    summary.requests, summary.duration, latency:percentile(50), latency:percentile(99),
    latency.max, errors.status, errors.connect + errors.read + errors.write, errors.timeout,
    ran_out))
end
