-- Findings: published, adopted from direct writes, taken off.

local SHOWN_BYTES = 8192

-- What the channel carries: the envelope's head from the author, then what only the bus knows.
-- A small finding rides along, so that a follower that missed nothing needs no further read.
local function wake(prefix, id, head, sequence, before, body)
  local message = head .. ',"finding_id":"' .. id .. '"' ..
     ',"dispatched_at":"' .. stamp(now_ms()) .. '","cursor":"' ..
    integer(sequence) .. '","previous":"' .. integer(before) .. '"'
  if #body <= SHOWN_BYTES then message = message .. ',"finding":' .. body end
  redis.call('PUBLISH', prefix .. K.CHANNEL_FINDINGS, message .. '}')
end

-- Value, order and wake-up of a finding; its sequence. The caller appends the log entry that
-- carries `id`, `sequence` and `body`: `publish` its own, `finish` that of the task.
-- A hidden one has its place in the order and goes to the store, and readers learn of neither.
local function put_finding(prefix, id, body, head, hidden)
  local key = prefix .. K.FINDING .. id
  local sequence = next_number(prefix, 'sequence')
  if hidden then
    redis.call('DEL', key)
    return sequence
  end
  redis.call('SET', key, body)
  redis.call('ZADD', prefix .. K.FINDINGS, sequence, id)
  -- A number that was skipped makes a follower look for what it missed; that costs one read.
  wake(prefix, id, head, sequence, sequence - 1, body)
  return sequence
end

-- ARGV  prefix, id, body, head, hidden ('1' or '0')
-- Publishing an id again changes nothing. A value that somebody wrote directly, and that no
-- function has published, is replaced by the body given here.
local function publish(keys, args)
  local prefix, id = args[1], args[2]
  local known = redis.call('ZSCORE', prefix .. K.FINDINGS, id)
  if known then return {'known', integer(known), last_entry(prefix)} end
  local refused = refusal(prefix)
  if refused then return refused end
  local sequence = put_finding(prefix, id, args[3], args[4], args[5] == '1')
  local entry = append(prefix, 'finding', 'id', id, 'sequence', integer(sequence), 'body', args[3])
  return {'new', integer(sequence), entry}
end

-- ARGV  prefix, after, limit
-- The findings after a sequence, in order: the oldest sequence there is, then sequence and body;
-- an empty body for one whose value somebody removed.
local function findings_since(keys, args)
  local prefix = args[1]
  local findings = prefix .. K.FINDINGS
  local oldest = redis.call('ZRANGE', findings, 0, 0, 'WITHSCORES')
  local found = {'ok', integer(oldest[2] or 0)}
  local rows = redis.call('ZRANGEBYSCORE', findings, '(' .. args[2], '+inf', 'WITHSCORES',
    'LIMIT', 0, args[3])
  for i = 1, #rows, 2 do
    local body = redis.pcall('GET', prefix .. K.FINDING .. rows[i])
    found[#found + 1] = integer(rows[i + 1])
    found[#found + 1] = type(body) == 'string' and body or ''
  end
  return found
end

-- ARGV  prefix, id, stored
local function drop_finding(keys, args)
  local prefix, id = args[1], args[2]
  redis.call('ZREM', prefix .. K.FINDINGS, id)
  redis.call('HSET', prefix .. K.COUNTERS, 'findings', args[3])
  return {'ok', redis.call('DEL', prefix .. K.FINDING .. id)}
end
