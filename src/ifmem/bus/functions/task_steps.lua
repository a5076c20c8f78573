-- The steps of a task: what brings it from one state into another.
--
-- A task is a hash. `move`, and `lease_to` for several, bring it from one state to another: they
-- keep the hash, the indexes, the counters and the log together. ENDED holds every task on the
-- bus: the ended ones by their end, the open ones at infinity, so that a rebuild finds all of them
-- without a scan. A task is a member of DEPENDENTS of another exactly while that one is among its
-- `unmet`.

local TASK_FIELDS = {'state', 'run', 'priority', 'place', 'attempts', 'max_attempts', 'holder',
  'fence', 'lease_until', 'not_before', 'posted_at', 'ended_at', 'depends_on', 'unmet', 'finding',
  'asked_by', 'event', 'request', 'revision', 'reasons', 'body'}
local READY_STATES = {pending = true, needs_assist = true}
local ENDED_STATES = {done = true, failed = true, cancelled = true, dead = true}

local TOP_PRIORITY = 10
local PLACES = 2 ^ 49  -- eleven priorities times this many places stay exact in a score
local MAX_TOKENS = 1000
local MAX_REASONS = 100
local REAPED_AT_ONCE = 100
local REQUESTS_SEEN = 16

-- What decides about a task, as a table of strings; nil when there is no such task.
local function read_task(prefix, id)
  local found = redis.pcall('HMGET', prefix .. K.TASK .. id, 'state', 'run', 'priority', 'place',
    'attempts', 'max_attempts', 'holder', 'fence', 'lease_until', 'not_before', 'unmet', 'asked_by',
    'event', 'revision')
  if not found[1] then return nil end
  return {id = id, state = found[1], run = found[2], priority = found[3], place = found[4],
    attempts = found[5], max_attempts = found[6], holder = found[7], fence = found[8],
    lease_until = found[9], not_before = found[10], unmet = found[11], asked_by = found[12],
    event = found[13], revision = found[14]}
end

-- What a reader gets: the values of all fields in their order, then the id.
local function task_row(prefix, id)
  local row = redis.pcall('HMGET', prefix .. K.TASK .. id, unpack(TASK_FIELDS))
  row[#TASK_FIELDS + 1] = id
  return row
end

-- `fields` is a list of names and values.
local function write_fields(prefix, task, fields)
  for n = 1, #fields, 2 do task[fields[n]] = fields[n + 1] end
  redis.call('HSET', prefix .. K.TASK .. task.id, unpack(fields))
end

-- Waiting claims sleep on a list; each token wakes one of them.
local function wake_claims(prefix, run, tokens)
  local list = prefix .. K.WAKE .. run
  local room = MAX_TOKENS - redis.call('LLEN', list)
  for _ = 1, math.min(tokens, room) do redis.call('RPUSH', list, '1') end
end

-- Who asked for assistance may swallow a token without taking the task: then all are woken.
local function make_ready(prefix, task)
  local score = (TOP_PRIORITY - tonumber(task.priority)) * PLACES + tonumber(task.place)
  redis.call('ZADD', prefix .. K.READY .. task.run, score, task.id)
  local tokens = 1
  if task.state == 'needs_assist' then tokens = 16 + redis.call('ZCARD', prefix .. K.WORKERS) end
  wake_claims(prefix, task.run, tokens)
end

local function index_task(prefix, task)
  local state, id = task.state, task.id
  if state == 'pending' and task.not_before ~= '' then
    redis.call('ZADD', prefix .. K.DELAYED, task.not_before, id)
  elseif READY_STATES[state] then
    make_ready(prefix, task)
  elseif state == 'leased' then
    redis.call('ZADD', prefix .. K.LEASES, task.lease_until, id)
    redis.pcall('RPUSH', prefix .. K.WORKER_TASKS .. task.holder, id)
  elseif ENDED_STATES[state] then
    redis.call('ZADD', prefix .. K.ENDED, task.ended_at, id)
  end
end

local function unindex_task(prefix, task)
  local state, id = task.state, task.id
  if state == 'pending' and task.not_before ~= '' then
    redis.call('ZREM', prefix .. K.DELAYED, id)
  elseif READY_STATES[state] then
    redis.call('ZREM', prefix .. K.READY .. task.run, id)
  elseif state == 'leased' then
    redis.call('ZREM', prefix .. K.LEASES, id)
    redis.pcall('LREM', prefix .. K.WORKER_TASKS .. task.holder, 1, id)
  elseif ENDED_STATES[state] then
    redis.call('ZADD', prefix .. K.ENDED, '+inf', id)
  end
end

local function count_task(prefix, state, by)
  redis.call('HINCRBY', prefix .. K.COUNTERS, 'tasks:' .. state, by)
end

-- Have the store know what became of a task: an entry carries all that decides.
local function record_step(prefix, task, actor, ...)
  return append(prefix, 'task', 'event', task.event, 'id', task.id, 'revision', task.revision,
    'state', task.state, 'worker', actor, 'fence', task.fence, 'attempts', task.attempts, ...)
end

local function milliseconds_of(entry)
  return string.match(entry, '^%d+')
end

-- The reasons of a task with one more, one JSON object a line: encoding writes no line ends.
local function reasons_with(prefix, task, actor, reason)
  local said = cjson.encode({attempt = tonumber(task.attempts), worker = actor, reason = reason,
    at = now_ms()})
  local before = redis.call('HGET', prefix .. K.TASK .. task.id, 'reasons')
  local reasons = before == '' and said or before .. '\n' .. said
  local _, ends = string.gsub(reasons, '\n', '')
  if ends >= MAX_REASONS then reasons = string.match(reasons, '\n(.*)$') end
  return reasons
end

-- The hash and the log entry of a step, which it returns. Indexes and counters are the caller's.
-- `changes` is a list of fields and values; more fields of the entry may follow.
local function take_step(prefix, task, event, state, actor, reason, changes, ...)
  local size, had_ended = #changes, ENDED_STATES[task.state]
  if reason ~= '' then
    changes[size + 1], changes[size + 2] = 'reasons', reasons_with(prefix, task, actor, reason)
    size = size + 2
  end
  for n = 1, size, 2 do task[changes[n]] = changes[n + 1] end
  task.state, task.event = state, event
  task.revision = integer(tonumber(task.revision) + 1)
  local entry
  if reason == '' then
    entry = record_step(prefix, task, actor, ...)
  else
    entry = record_step(prefix, task, actor, 'reason', reason, ...)
  end
  if had_ended or ENDED_STATES[state] then
    task.ended_at = ENDED_STATES[state] and milliseconds_of(entry) or ''
    changes[size + 1], changes[size + 2] = 'ended_at', task.ended_at
  end
  redis.call('HSET', prefix .. K.TASK .. task.id, 'state', state, 'event', event,
    'revision', task.revision, unpack(changes))
  return entry
end

-- Bring a task from its state into another, with these fields changed; returns the log entry.
local function move(prefix, task, event, state, actor, reason, changes, ...)
  unindex_task(prefix, task)
  count_task(prefix, task.state, -1)
  count_task(prefix, state, 1)
  local entry = take_step(prefix, task, event, state, actor, reason, changes, ...)
  index_task(prefix, task)
  return entry
end

local function ids_in(text)
  return string.gmatch(text, '%S+')
end

local function without_id(text, id)
  local rest = {}
  for other in ids_in(text) do
    if other ~= id then rest[#rest + 1] = other end
  end
  return table.concat(rest, ' ')
end

-- A task is done: what waited for it alone can be claimed.
local function unblock(prefix, done)
  local waiting = prefix .. K.DEPENDENTS .. done
  for _, id in ipairs(redis.call('SMEMBERS', waiting)) do
    local task = read_task(prefix, id)
    if task then
      local unmet = without_id(task.unmet, done)
      if unmet == '' and task.state == 'blocked' then
        move(prefix, task, 'unblocked', 'pending', '', '', {'unmet', ''})
      else
        write_fields(prefix, task, {'unmet', unmet})
      end
    end
  end
  redis.call('DEL', waiting)
end

local function expire_lease(prefix, task)
  local exhausted = tonumber(task.attempts) >= tonumber(task.max_attempts)
  move(prefix, task, 'expired', exhausted and 'dead' or 'pending', task.holder, 'lease expired',
    {'lease_until', ''})
end

-- Back-offs that are over and leases that ended: how many there were, `limit` at most.
local function reap(prefix, now, limit)
  local delayed, leases = prefix .. K.DELAYED, prefix .. K.LEASES
  local due = redis.call('ZRANGEBYSCORE', delayed, '-inf', now, 'LIMIT', 0, limit)
  for _, id in ipairs(due) do
    redis.call('ZREM', delayed, id)
    local task = read_task(prefix, id)
    if task and task.state == 'pending' then
      write_fields(prefix, task, {'not_before', ''})
      make_ready(prefix, task)
    end
  end
  local ended = redis.call('ZRANGEBYSCORE', leases, '-inf', now, 'LIMIT', 0, limit - #due)
  for _, id in ipairs(ended) do
    local task = read_task(prefix, id)
    if task and task.state == 'leased' then
      expire_lease(prefix, task)
    else
      redis.call('ZREM', leases, id)
    end
  end
  return #due + #ended
end

-- Milliseconds until a back-off or a lease ends; -1 when there is none.
local function next_due(prefix, now)
  local soonest
  for _, name in ipairs({'DELAYED', 'LEASES'}) do
    local first = redis.call('ZRANGE', prefix .. K[name], 0, 0, 'WITHSCORES')
    local at = tonumber(first[2])
    if at and (not soonest or at < soonest) then soonest = at end
  end
  return soonest and math.max(soonest - now, 0) or -1
end

-- Tasks this worker may have now, in order. One that was tried before comes alone: should it
-- kill its worker, it takes no other with it.
local function choose(prefix, worker, run, count)
  local ready = prefix .. K.READY .. run
  local chosen, passed = {}, 0
  while true do
    local ids = redis.call('ZRANGE', ready, passed, passed + count - 1)
    if #ids == 0 then return chosen end
    for _, id in ipairs(ids) do
      local task = read_task(prefix, id)
      if not task or not READY_STATES[task.state] then
        redis.call('ZREM', ready, id)
      elseif task.state == 'needs_assist' and task.asked_by == worker then
        passed = passed + 1
      elseif task.attempts ~= '0' then
        return #chosen > 0 and chosen or {task}
      else
        passed = passed + 1
        chosen[#chosen + 1] = task
        if #chosen == count then return chosen end
      end
    end
  end
end

-- The tasks that this very request has leased already, when its answer was lost on the way.
local function claimed_before(prefix, worker, request, count, now)
  local newest = math.max(count, REQUESTS_SEEN)
  local held = redis.pcall('LRANGE', prefix .. K.WORKER_TASKS .. worker, -newest, -1)
  local rows = {}
  for _, id in ipairs(held) do
    if redis.call('HGET', prefix .. K.TASK .. id, 'request') == request then
      local task = read_task(prefix, id)
      if task.state == 'leased' and task.holder == worker and tonumber(task.lease_until) > now then
        rows[#rows + 1] = task_row(prefix, id)
      end
    end
  end
  return rows
end

-- nil when this worker holds the task by this fence and in time; otherwise the refusal to return,
-- which is audited while the log takes entries.
local function not_held(prefix, task, worker, fence, action)
  local word
  if task.state ~= 'leased' then
    word = 'state'
  elseif task.holder ~= worker then
    word = 'holder'
  elseif task.fence ~= fence then
    word = 'fence'
  elseif tonumber(task.lease_until) <= now_ms() then
    word = 'expired'
  else
    return nil
  end
  if not refusal(prefix) then
    audit(prefix, action .. '_task', worker, task.id,
      'wrong ' .. word .. ': ' .. task.state .. ', holder ' .. task.holder .. ', fence ' .. fence)
  end
  return {'refused', word, task.state, task.holder, task.lease_until, task.unmet}
end

-- Whether the last step of this task is the one that is asked for again.
local function is_repeated(task, worker, fence, event)
  return task.event == event and task.holder == worker and task.fence == fence
end

local function wrong_state(prefix, task, actor, action)
  audit(prefix, action .. '_task', actor, task.id, 'wrong state: ' .. task.state)
  return {'refused', 'state', task.state, task.holder, task.lease_until}
end

-- A task that is not here; while the bus is rebuilt it may only not be here yet.
local function missing(prefix)
  local refused = refusal(prefix)
  if refused and refused[1] == 'refusing' then return refused end
  return {'unknown'}
end
