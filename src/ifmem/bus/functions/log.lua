-- The log between the bus and the store: its position, and what the store says of its entries.

local VERDICT_SECONDS = 3600

-- Numbers of findings go on above this one.
local function count_from(prefix, sequence)
  local counters = prefix .. K.COUNTERS
  if tonumber(redis.call('HGET', counters, 'sequence') or '0') < sequence then
    redis.call('HSET', counters, 'sequence', integer(sequence))
  end
end

-- ARGV  prefix, bridge, fence, epoch, drained, limit, sequence
-- Say up to where the store has committed. Numbers go on above `sequence`.
local function set_position(keys, args)
  local prefix = args[1]
  if not holds_lease(prefix, args[2], args[3]) then return {'lost'} end
  redis.call('HSET', prefix .. K.LOG_STATE, 'epoch', args[4], 'drained', args[5],
    'limit', args[6], 'refusing', '')
  count_from(prefix, tonumber(args[7]))
  return {'ok'}
end

-- ARGV  prefix, bridge, fence, reason ('' when the store writes again)
local function refuse_writes(keys, args)
  local prefix = args[1]
  if not holds_lease(prefix, args[2], args[3]) then return {'lost'} end
  redis.call('HSET', prefix .. K.LOG_STATE, 'refusing', args[4])
  redis.call('PUBLISH', prefix .. K.CHANNEL_DURABLE, cjson.encode({refusing = args[4]}))
  return {'ok'}
end

local DURABLE, NOT_DURABLE = '{"durable":true,', '{"durable":false,'

-- ARGV  prefix, bridge, fence, drained, window, stored, message,
--       count of findings, then for each: id, sequence;
--       then pairs entry, verdict
-- The store has committed up to `drained`: its findings become durable under the store's own
-- sequence, the log and the window are trimmed, and waiting writers are woken. A sequence of 0
-- says that the store refused the finding, a negative one that it hides it: it is taken off.
local function drained(keys, args)
  local prefix, position = args[1], args[4]
  if not holds_lease(prefix, args[2], args[3]) then return {'lost'} end
  local findings = prefix .. K.FINDINGS
  local place, highest = 9, 0
  for _ = 1, tonumber(args[8]) do
    local id, sequence = args[place], args[place + 1]
    local number = tonumber(sequence)
    place, highest = place + 2, math.max(highest, math.abs(number))
    local key = prefix .. K.FINDING .. id
    if number <= 0 then
      redis.call('DEL', key)
      redis.call('ZREM', findings, id)
    else
      local body = redis.pcall('GET', key)
      if type(body) == 'string' and string.sub(body, 1, #NOT_DURABLE) == NOT_DURABLE then
        redis.call('SET', key, DURABLE .. string.sub(body, #NOT_DURABLE + 1))
      end
      if body then redis.call('ZADD', findings, sequence, id) end
    end
  end
  count_from(prefix, highest)
  while place < #args do
    redis.call('SET', prefix .. K.VERDICT .. args[place], args[place + 1], 'EX', VERDICT_SECONDS)
    place = place + 2
  end
  redis.call('HSET', prefix .. K.LOG_STATE, 'drained', position)
  redis.call('HSET', prefix .. K.COUNTERS, 'findings', args[6])
  redis.call('XTRIM', prefix .. K.LOG, 'MINID', position)
  redis.call('XDEL', prefix .. K.LOG, position)
  local excess = redis.call('ZCARD', findings) - tonumber(args[5])
  while excess > 0 do
    -- Only what the store has: entries after the position are not trimmed.
    local oldest = redis.call('ZPOPMIN', findings, math.min(excess, 1000))
    for i = 1, #oldest, 2 do redis.call('DEL', prefix .. K.FINDING .. oldest[i]) end
    excess = excess - #oldest / 2
  end
  redis.call('PUBLISH', prefix .. K.CHANNEL_DURABLE, args[7])
  return {'ok'}
end

-- ARGV  prefix, field, value, …
-- What could not be read, with the reason, for a person to look at.
local function dead_letter(keys, args)
  redis.call('XADD', args[1] .. K.DEAD_LETTERS, 'MAXLEN', '1000', '*',
    'at', stamp(now_ms()), unpack(args, 2))
  return {'ok'}
end
