-- Messages: put into inboxes, taken, acknowledged or expired.
--
-- A message is a hash: `body`, `sequence`, `sent`, `expires` (ms), and for each recipient that is
-- not done with it `to:<agent>`, the number of times it was delivered. In the order of sequences it
-- stands in the recipient's inbox until it is taken, then among the unacknowledged, by the time at
-- which it is delivered again. Without recipients it stays a while, so that its id is known.

local INBOX_LIMIT = 10000
local FOLLOWERS_LIMIT = 1000
local REPLY_BYTES = 1048576
local KNOWN_MS = 3600000
local NAMED_TOGETHER = 100
-- In one call: each has an entry of its own in the log.
local DROPPED_TOGETHER = 100
-- In one call: ten times as many, a full inbox, would hold the server for some 60 ms.
local GIVEN_BACK_TOGETHER = 1000
local OWN_FIELDS = 4

local function is_full(prefix, agent)
  return redis.call('ZCARD', prefix .. K.INBOX .. agent)
    + redis.call('ZCARD', prefix .. K.UNACKED .. agent) >= INBOX_LIMIT
end

local function keep_as_known(message)
  redis.call('HSET', message, 'body', '')
  redis.call('PEXPIRE', message, integer(KNOWN_MS))
end

-- Whether a message still waits for this agent.
local function is_open(prefix, agent, id)
  return redis.call('HEXISTS', prefix .. K.MESSAGE .. id, 'to:' .. agent) == 1
end

-- The agent is done with a message.
local function close_message(prefix, agent, id)
  local message = prefix .. K.MESSAGE .. id
  redis.call('ZREM', prefix .. K.INBOX .. agent, id)
  redis.call('ZREM', prefix .. K.UNACKED .. agent, id)
  local waited = redis.call('HDEL', message, 'to:' .. agent) == 1
  if waited and redis.call('HLEN', message) == OWN_FIELDS then keep_as_known(message) end
end

-- Say what became of several messages of an agent, for the store.
local function append_ended(prefix, event, agent, ids)
  return append(prefix, 'message', 'event', event, 'agent', agent, 'ids', table.concat(ids, ' '))
end

local function append_expired(prefix, agent, ids)
  if #ids == 0 then return end
  append_ended(prefix, 'expired', agent, ids)
  for _, id in ipairs(ids) do
    audit(prefix, 'message-expired', agent, id, 'not acknowledged while it lived')
  end
end

local function wake_agents(prefix, id, to, topic, recipients)
  local said = {message_id = id}
  if topic ~= '' then said.topic = topic else said.to = to end
  -- Without the list every listener looks.
  if topic ~= '' and #recipients <= NAMED_TOGETHER then said.recipients = recipients end
  redis.call('PUBLISH', prefix .. K.CHANNEL_MESSAGES, cjson.encode(said))
end

-- ARGV  prefix, id, to, topic (one of the two is ''), body, life_ms
-- To all recipients or to none. An id that is known changes nothing.
local function send_message(keys, args)
  local prefix, id, to, topic = args[1], args[2], args[3], args[4]
  local message = prefix .. K.MESSAGE .. id
  local known = redis.call('HGET', message, 'sequence')
  if known then return {'known', known, last_entry(prefix)} end
  local refused = refusal(prefix)
  if refused then return refused end
  local recipients = {to}
  if topic ~= '' then
    recipients = redis.call('SMEMBERS', prefix .. K.TOPIC .. topic)
    table.sort(recipients)
  end
  for _, agent in ipairs(recipients) do
    if is_full(prefix, agent) then return {'full', agent} end
  end
  local now = now_ms()
  local sequence, sent = integer(next_number(prefix, 'message')), integer(now)
  local expires = integer(now + tonumber(args[6]))
  redis.call('HSET', message, 'body', args[5], 'sequence', sequence, 'sent', sent,
    'expires', expires)
  for _, agent in ipairs(recipients) do
    redis.call('HSET', message, 'to:' .. agent, '0')
    redis.call('ZADD', prefix .. K.INBOX .. agent, sequence, id)
  end
  if #recipients == 0 then keep_as_known(message) end
  local entry = append(prefix, 'message', 'event', 'sent', 'id', id, 'sequence', sequence,
    'sent', sent, 'expires', expires, 'recipients', table.concat(recipients, ' '),
    'body', args[5])
  if #recipients > 0 then wake_agents(prefix, id, to, topic, recipients) end
  return {'new', sequence, entry, unpack(recipients)}
end

-- What was taken and not acknowledged in time goes back to its place.
local function return_lapsed(prefix, agent, now)
  local unacked = prefix .. K.UNACKED .. agent
  local lapsed = redis.call('ZRANGEBYSCORE', unacked, '-inf', integer(now),
    'LIMIT', 0, GIVEN_BACK_TOGETHER)
  for _, id in ipairs(lapsed) do
    redis.call('ZREM', unacked, id)
    local sequence = redis.call('HGET', prefix .. K.MESSAGE .. id, 'sequence')
    if sequence then redis.call('ZADD', prefix .. K.INBOX .. agent, sequence, id) end
  end
end

-- Milliseconds until something taken is delivered again; -1 when nothing is.
local function until_redelivery(prefix, agent, now)
  local first = redis.call('ZRANGE', prefix .. K.UNACKED .. agent, 0, 0, 'WITHSCORES')
  if not first[2] then return -1 end
  return math.max(0, tonumber(first[2]) - now)
end

-- ARGV  prefix, agent, limit, visibility_ms
-- Take the oldest messages. Expired ones are dropped on the way, unless the log takes nothing.
local function receive_messages(keys, args)
  local prefix, agent, limit = args[1], args[2], tonumber(args[3])
  local inbox = prefix .. K.INBOX .. agent
  local now = now_ms()
  local again = integer(now + tonumber(args[4]))
  return_lapsed(prefix, agent, now)
  local can_drop = not refusal(prefix)
  local taken, expired, bytes, passed = {}, {}, 0, 0
  while #taken < limit and bytes < REPLY_BYTES do
    local ids = redis.call('ZRANGE', inbox, passed, passed + limit - #taken - 1)
    if #ids == 0 then break end
    for _, id in ipairs(ids) do
      local message = prefix .. K.MESSAGE .. id
      local said = redis.call('HMGET', message, 'body', 'sequence', 'sent', 'expires')
      if not said[1] then
        redis.call('ZREM', inbox, id)
      elseif tonumber(said[4]) > now then
        if bytes >= REPLY_BYTES then break end
        bytes = bytes + #said[1]
        redis.call('ZREM', inbox, id)
        redis.call('ZADD', prefix .. K.UNACKED .. agent, again, id)
        local number = redis.call('HINCRBY', message, 'to:' .. agent, 1)
        taken[#taken + 1] = {id, said[2], said[3], said[4], number, said[1]}
      elseif can_drop and #expired < DROPPED_TOGETHER then
        close_message(prefix, agent, id)
        expired[#expired + 1] = id
      else
        passed = passed + 1
      end
    end
  end
  append_expired(prefix, agent, expired)
  return {'ok', until_redelivery(prefix, agent, now), unpack(taken)}
end

-- ARGV  prefix, agent, id, …
-- Again, or of what was never sent to the agent: changes nothing.
local function acknowledge_messages(keys, args)
  local prefix, agent, open = args[1], args[2], {}
  for i = 3, #args do
    if is_open(prefix, agent, args[i]) then open[#open + 1] = args[i] end
  end
  if #open == 0 then return {'ok', 0, last_entry(prefix)} end
  local refused = refusal(prefix)
  if refused then return refused end
  for _, id in ipairs(open) do close_message(prefix, agent, id) end
  return {'ok', #open, append_ended(prefix, 'acknowledged', agent, open)}
end

-- ARGV  prefix, agent, id, …
-- Drop those whose time is over, or that the bus has lost.
local function expire_messages(keys, args)
  local prefix, agent, over = args[1], args[2], {}
  local refused = refusal(prefix)
  if refused then return refused end
  local now = now_ms()
  for i = 3, #args do
    local expires = redis.call('HGET', prefix .. K.MESSAGE .. args[i], 'expires')
    if not expires or tonumber(expires) <= now then
      close_message(prefix, agent, args[i])
      over[#over + 1] = args[i]
    end
  end
  append_expired(prefix, agent, over)
  return {'ok', #over}
end

-- ARGV  prefix, agent, topic
local function follow_topic(keys, args)
  local prefix, agent, topic = args[1], args[2], args[3]
  local followers = prefix .. K.TOPIC .. topic
  if redis.call('SISMEMBER', followers, agent) == 1 then return {'known', last_entry(prefix)} end
  local refused = refusal(prefix)
  if refused then return refused end
  if redis.call('SCARD', followers) >= FOLLOWERS_LIMIT then return {'full', topic} end
  redis.call('SADD', followers, agent)
  return {'new', append(prefix, 'message', 'event', 'followed', 'agent', agent, 'topic', topic)}
end

-- ARGV  prefix, agent, topic
-- What was sent to the agent before stays in its inbox.
local function unfollow_topic(keys, args)
  local prefix, agent, topic = args[1], args[2], args[3]
  local followers = prefix .. K.TOPIC .. topic
  if redis.call('SISMEMBER', followers, agent) == 0 then return {'known', last_entry(prefix)} end
  local refused = refusal(prefix)
  if refused then return refused end
  redis.call('SREM', followers, agent)
  return {'new', append(prefix, 'message', 'event', 'unfollowed', 'agent', agent, 'topic', topic)}
end

-- ARGV  prefix, id, sequence, sent, expires, body, agent, … (that are not done with it)
-- Put a message of the store back where it is missing; what an agent has taken stays taken.
local function restore_messages(keys, args)
  local prefix, id = args[1], args[2]
  local message = prefix .. K.MESSAGE .. id
  redis.call('HSET', message, 'body', args[6], 'sequence', args[3], 'sent', args[4],
    'expires', args[5])
  redis.call('PERSIST', message)
  for i = 7, #args do
    redis.call('HSETNX', message, 'to:' .. args[i], '0')
    if not redis.call('ZSCORE', prefix .. K.UNACKED .. args[i], id) then
      redis.call('ZADD', prefix .. K.INBOX .. args[i], args[3], id)
    end
    wake_agents(prefix, id, args[i], '', {})
  end
  return {'ok'}
end

-- ARGV  prefix, agent, id, …
-- The store has these as done already.
local function settle_messages(keys, args)
  for i = 3, #args do close_message(args[1], args[2], args[i]) end
  return {'ok'}
end

-- ARGV  prefix, topic, count of followers, follower, …, agent that left, …
local function restore_topic(keys, args)
  local followers = args[1] .. K.TOPIC .. args[2]
  for i = 4, #args do
    redis.call(i - 3 <= tonumber(args[3]) and 'SADD' or 'SREM', followers, args[i])
  end
  return {'ok'}
end

-- ARGV  prefix, number
-- Messages get numbers above this one.
local function number_messages(keys, args)
  local counters = args[1] .. K.COUNTERS
  if tonumber(redis.call('HGET', counters, 'message') or '0') < tonumber(args[2]) then
    redis.call('HSET', counters, 'message', args[2])
  end
  return {'ok'}
end
