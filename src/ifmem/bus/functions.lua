-- Every step that must be atomic on the bus, once. Loaded as a function library whose
-- name carries the digest of this text; where the server forbids functions, `bus/server_side.py` runs the same bodies as scripts.
--
-- Keys are declared by the caller in KEYS. The one exception is told at its place: sums over all
-- shards read names built from the space's prefix, which share its hash tag on a cluster.

local function integer_at(key)
  -- A foreign type at one of our names must not stop the bus; `doctor` reports it.
  local value = redis.pcall('GET', key)
  if type(value) ~= 'string' then return 0 end
  return tonumber(value) or 0
end

-- context:active is the sum over active shards, always computed, never adjusted.
local function sum_active(prefix, shards_key, active_key)
  local total = 0
  for _, n in ipairs(redis.call('SMEMBERS', shards_key)) do
    local shard = prefix .. 'context:shard:' .. n
    if redis.pcall('GET', shard .. ':active') == '1' then
      total = total + integer_at(shard .. ':tokens')
    end
  end
  redis.call('SET', active_key, string.format('%d', total))
  return total
end

-- KEYS  active, shards, capacity, tokens, flag, card, manifest
-- ARGV  prefix, n, capacity, tokens, flag, manifest, field, value, … (of the card)
local function put_shard(keys, args)
  redis.call('SADD', keys[2], args[2])
  redis.call('SET', keys[3], args[3])
  redis.call('SET', keys[4], args[4])
  redis.call('SET', keys[5], args[5])
  redis.call('SET', keys[7], args[6])
  redis.call('DEL', keys[6])
  redis.call('HSET', keys[6], unpack(args, 7))
  return sum_active(args[1], keys[2], keys[1])
end

-- KEYS  active, shards, flag …
-- ARGV  prefix, flag
local function set_active(keys, args)
  for i = 3, #keys do redis.call('SET', keys[i], args[2]) end
  return sum_active(args[1], keys[2], keys[1])
end

-- KEYS  finding, findings, counters, channel
-- ARGV  prefix, id, sequence, body, window, envelope, stored
-- Publishing the same id again changes nothing but wakes the readers.
local function put_finding(keys, args)
  redis.call('SET', keys[1], args[4])
  redis.call('ZADD', keys[2], args[3], args[2])
  redis.call('HSET', keys[3], 'findings', args[7])
  while redis.call('ZCARD', keys[2]) > tonumber(args[5]) do
    local oldest = redis.call('ZPOPMIN', keys[2])[1]
    redis.call('DEL', args[1] .. 'finding:' .. oldest)
  end
  redis.call('PUBLISH', keys[4], args[6])
  return 1
end

-- KEYS  finding, findings, counters
-- ARGV  id, stored
local function drop_finding(keys, args)
  redis.call('ZREM', keys[2], args[1])
  redis.call('HSET', keys[3], 'findings', args[2])
  return redis.call('DEL', keys[1])
end

-- KEYS  status, workers
-- ARGV  id, expiry_s
-- The heartbeat's time is the server's: clients' clocks decide nothing.
local function beat(keys, args)
  local now = redis.call('TIME')
  local seconds = tonumber(now[1])
  local days = math.floor(seconds / 86400)
  local rest = seconds % 86400
  -- Civil date from days since 1970 (H. Hinnant, chrono-compatible date algorithms).
  local z = days + 719468
  local era = math.floor(z / 146097)
  local doe = z - era * 146097
  local yoe = math.floor(
    (doe - math.floor(doe / 1460) + math.floor(doe / 36524) - math.floor(doe / 146096)) / 365)
  local doy = doe - (365 * yoe + math.floor(yoe / 4) - math.floor(yoe / 100))
  local mp = math.floor((5 * doy + 2) / 153)
  local day = doy - math.floor((153 * mp + 2) / 5) + 1
  local month = mp < 10 and mp + 3 or mp - 9
  local year = yoe + era * 400 + (month <= 2 and 1 or 0)
  local stamp = string.format('%04d-%02d-%02dT%02d:%02d:%02dZ', year, month, day,
    math.floor(rest / 3600), math.floor(rest / 60) % 60, rest % 60)
  redis.call('SET', keys[1], stamp, 'EX', args[2])
  local now_ms = seconds * 1000 + math.floor(tonumber(now[2]) / 1000)
  redis.call('ZADD', keys[2], now_ms, args[1])
  -- The list of workers stays bounded: the long dead leave it.
  redis.call('ZREMRANGEBYSCORE', keys[2], '-inf', now_ms - 60 * 1000 * tonumber(args[2]))
  return stamp
end

-- KEYS  status, workers, tasks
-- ARGV  id
local function leave(keys, args)
  redis.call('ZREM', keys[2], args[1])
  return redis.call('DEL', keys[1], keys[3])
end

-- KEYS  owner, active
-- ARGV  store_id, adopt ('1' or '0')
-- Whose keys these are: the store's id when they are or become ours, otherwise the other's;
-- '?' stands for keys of the seed's schema that no store owns.
local function claim(keys, args)
  local owner = redis.pcall('GET', keys[1])
  if owner == args[1] then return owner end
  if args[2] ~= '1' then
    if type(owner) == 'string' then return owner end
    if redis.call('EXISTS', keys[2]) == 1 then return '?' end
  end
  redis.call('SET', keys[1], args[1])
  return args[1]
end
