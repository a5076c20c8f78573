-- What all functions share. The table `K` is written before this text from `wire/keys.py`: the
-- spelling of every key up to its variable part, without the prefix of the space.
--
-- Calling convention: KEYS[1] is the space's log, which names its slot on a cluster; ARGV[1] is
-- the space's prefix, from which every other name is built (they share the slot). A function
-- `name(keys, args)` is public. It returns an array: a word for the outcome, then values.
-- Only the server's clock decides.

local function now_ms()
  local now = redis.call('TIME')
  return tonumber(now[1]) * 1000 + math.floor(tonumber(now[2]) / 1000)
end

-- ISO-8601 in UTC. Civil date from days since 1970 (H. Hinnant, chrono-compatible date algorithms).
local function stamp(ms)
  local seconds = math.floor(ms / 1000)
  local rest = seconds % 86400
  local z = math.floor(seconds / 86400) + 719468
  local era = math.floor(z / 146097)
  local doe = z - era * 146097
  local yoe = math.floor(
    (doe - math.floor(doe / 1460) + math.floor(doe / 36524) - math.floor(doe / 146096)) / 365)
  local doy = doe - (365 * yoe + math.floor(yoe / 4) - math.floor(yoe / 100))
  local mp = math.floor((5 * doy + 2) / 153)
  local day = doy - math.floor((153 * mp + 2) / 5) + 1
  local month = mp < 10 and mp + 3 or mp - 9
  local year = yoe + era * 400 + (month <= 2 and 1 or 0)
  return string.format('%04d-%02d-%02dT%02d:%02d:%02d.%03dZ', year, month, day,
    math.floor(rest / 3600), math.floor(rest / 60) % 60, rest % 60, ms % 1000)
end

local function integer(number)
  return string.format('%d', number)
end

local function integer_at(key)
  -- A foreign type at one of our names must not stop the bus; `doctor` reports it.
  local value = redis.pcall('GET', key)
  if type(value) ~= 'string' then return 0 end
  return tonumber(value) or 0
end

-- Whether the log takes another entry: nil, or the refusal to return.
-- The bound is what a store that stopped can leave behind; a bridge whose store cannot write
-- says so, and then nothing new is taken at all.
local function refusal(prefix)
  local state = redis.call('HMGET', prefix .. K.LOG_STATE, 'refusing', 'limit')
  if not state[1] then return {'refusing', 'no bridge has opened this space here yet'} end
  if state[1] ~= '' then return {'refusing', state[1]} end
  local waiting = redis.call('XLEN', prefix .. K.LOG)
  if waiting >= (tonumber(state[2]) or 10000) then return {'busy', integer(waiting)} end
  return nil
end

-- Append an entry for the store: `kind`, then fields and values. Returns the entry's id.
local function append(prefix, kind, ...)
  return redis.call('XADD', prefix .. K.LOG, '*', 'kind', kind, 'at', integer(now_ms()), ...)
end

-- The newest entry: when the store has committed it, it has committed all that happened before now.
-- An empty log has nothing to wait for, whoever asks: a bridge that has just started knows of no
-- entry that was committed before it.
local function last_entry(prefix)
  local newest = redis.call('XREVRANGE', prefix .. K.LOG, '+', '-', 'COUNT', 1)
  return newest[1] and newest[1][1] or '0-0'
end

-- Have the store remember that somebody was refused something.
local function audit(prefix, action, actor, subject, reason)
  return append(prefix, 'audit', 'action', action, 'actor', actor, 'subject', subject,
    'reason', reason)
end

-- The next number of a counter that never goes back within an epoch.
local function next_number(prefix, counter)
  return redis.call('HINCRBY', prefix .. K.COUNTERS, counter, 1)
end

-- A fence: the epoch that the store counts, and a number within it.
local function next_fence(prefix)
  local epoch = redis.call('HGET', prefix .. K.LOG_STATE, 'epoch') or '0'
  return epoch .. '-' .. integer(next_number(prefix, 'fence'))
end

-- ARGV  prefix
-- The entry after which everything that has happened until now is durable.
local function barrier(keys, args)
  return {'ok', last_entry(args[1])}
end
