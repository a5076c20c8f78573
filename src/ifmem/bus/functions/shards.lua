-- Shards, and the workers that hold them.

local function shard_key(prefix, name, n)
  return prefix .. K[name] .. n .. (T[name] or '')
end

local function is_alive(prefix, worker)
  return worker and worker ~= '' and redis.call('EXISTS', prefix .. K.WORKER_STATUS .. worker) == 1
end

-- context:active is the sum over active shards, always computed, never adjusted.
local function sum_active(prefix)
  local total = 0
  for _, n in ipairs(redis.call('SMEMBERS', prefix .. K.SHARDS)) do
    if redis.pcall('GET', shard_key(prefix, 'SHARD_ACTIVE', n)) == '1' then
      total = total + integer_at(shard_key(prefix, 'SHARD_TOKENS', n))
    end
  end
  redis.call('SET', prefix .. K.CONTEXT_ACTIVE, integer(total))
  return total
end

-- ARGV  prefix, n, bridge's worker, capacity, tokens, manifest, field, value, … (of the card)
-- The shard stays with a live holder; the bridge holds what nobody else does.
local function put_shard(keys, args)
  local prefix, n, bridge = args[1], args[2], args[3]
  local card = shard_key(prefix, 'SHARD_CARD', n)
  local holder = redis.call('HGET', card, 'worker')
  redis.call('SADD', prefix .. K.SHARDS, n)
  redis.call('SET', shard_key(prefix, 'SHARD_CAPACITY', n), args[4])
  redis.call('SET', shard_key(prefix, 'SHARD_TOKENS', n), args[5])
  redis.call('SET', shard_key(prefix, 'MANIFEST', n), args[6])
  redis.call('HSET', card, unpack(args, 7))
  if holder == bridge or not is_alive(prefix, holder) then
    redis.call('HSET', card, 'worker', bridge)
    redis.call('SET', shard_key(prefix, 'SHARD_ACTIVE', n), '1')
  elseif redis.call('EXISTS', shard_key(prefix, 'SHARD_ACTIVE', n)) == 0 then
    redis.call('SET', shard_key(prefix, 'SHARD_ACTIVE', n), '0')
  end
  return {'ok', sum_active(prefix)}
end

-- ARGV  prefix, worker, n, over
-- Become the holder of a shard whose holder is dead, absent, or `over`. It is inactive until ready.
local function take_shard(keys, args)
  local prefix, worker, n, over = args[1], args[2], args[3], args[4]
  if redis.call('SISMEMBER', prefix .. K.SHARDS, n) == 0 then return {'unknown'} end
  local card = shard_key(prefix, 'SHARD_CARD', n)
  local holder = redis.call('HGET', card, 'worker') or ''
  if holder == worker then return {'taken', holder} end
  if holder ~= over and is_alive(prefix, holder) then return {'held', holder} end
  redis.call('HSET', card, 'worker', worker)
  redis.call('SET', shard_key(prefix, 'SHARD_ACTIVE', n), '0')
  sum_active(prefix)
  return {'taken', holder}
end

-- ARGV  prefix, worker, n, active ('1' ready, '0' given back)
-- Only the holder says that a shard is ready, or gives it back.
local function set_ready(keys, args)
  local prefix, worker, n, active = args[1], args[2], args[3], args[4]
  local card = shard_key(prefix, 'SHARD_CARD', n)
  local holder = redis.call('HGET', card, 'worker') or ''
  if holder ~= worker then return {'lost', holder} end
  redis.call('SET', shard_key(prefix, 'SHARD_ACTIVE', n), active)
  if active == '0' then redis.call('HSET', card, 'worker', '') end
  return {'ok', sum_active(prefix)}
end

-- ARGV  prefix, worker, expiry_s
-- A heartbeat. The list of workers stays bounded: the long dead leave it.
local function beat(keys, args)
  local prefix, worker, expiry = args[1], args[2], tonumber(args[3])
  local now = now_ms()
  local said = stamp(now)
  redis.call('SET', prefix .. K.WORKER_STATUS .. worker, said, 'EX', expiry)
  redis.call('ZADD', prefix .. K.WORKERS, now, worker)
  redis.call('ZREMRANGEBYSCORE', prefix .. K.WORKERS, '-inf', now - 60 * 1000 * expiry)
  return {'ok', said}
end

-- ARGV  prefix, worker
local function leave(keys, args)
  local prefix, worker = args[1], args[2]
  redis.call('ZREM', prefix .. K.WORKERS, worker)
  redis.call('DEL', prefix .. K.WORKER_STATUS .. worker, prefix .. K.WORKER_CONTEXT .. worker)
  return {'ok'}
end
