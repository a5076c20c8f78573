-- Tasks: what time does, and building them anew from the store.

-- A task leaves the bus; the store keeps it.
local function forget_task(prefix, id)
  local task = read_task(prefix, id)
  if task then
    unindex_task(prefix, task)
    for other in ids_in(task.unmet) do redis.call('SREM', prefix .. K.DEPENDENTS .. other, id) end
  end
  redis.call('ZREM', prefix .. K.ENDED, id)
  redis.call('DEL', prefix .. K.TASK .. id)
  return task
end

-- Ended tasks beyond the newest `keep`, of those that the store has committed.
local function trim_ended(prefix, keep, limit)
  local ended = prefix .. K.ENDED
  local excess = redis.call('ZCOUNT', ended, '-inf', '(+inf') - keep
  if excess <= 0 then return 0 end
  local drained = redis.call('HGET', prefix .. K.LOG_STATE, 'drained') or '0-0'
  local ids = redis.call('ZRANGEBYSCORE', ended, '-inf', '(' .. milliseconds_of(drained),
    'LIMIT', 0, math.min(excess, limit))
  for _, id in ipairs(ids) do forget_task(prefix, id) end
  return #ids
end

-- ARGV  prefix, limit, keep
-- What only time does: how many became due, how many were trimmed, milliseconds to the next.
local function sweep_tasks(keys, args)
  local prefix, limit = args[1], tonumber(args[2])
  local refused = refusal(prefix)
  if refused then return refused end
  local now = now_ms()
  local reaped = reap(prefix, now, limit)
  return {'ok', reaped, trim_ended(prefix, tonumber(args[3]), limit), next_due(prefix, now)}
end

-- ARGV  prefix, limit
-- Before a rebuild: take tasks off the bus; how many there were, and 0 when all are gone.
local function clear_tasks(keys, args)
  local prefix = args[1]
  local ids = redis.call('ZRANGE', prefix .. K.ENDED, 0, tonumber(args[2]) - 1)
  for _, id in ipairs(ids) do
    local task = forget_task(prefix, id)
    if task then redis.call('DEL', prefix .. K.WAKE .. task.run) end
  end
  if #ids == 0 then redis.call('DEL', prefix .. K.LEASES, prefix .. K.DELAYED) end
  return {'ok', #ids}
end

-- ARGV  prefix, then for each task: id and its fields in order
-- Put tasks on the bus as the store has them, over whatever is there.
local function restore_tasks(keys, args)
  local prefix, width = args[1], #TASK_FIELDS + 1
  for first = 2, #args, width do
    local id = args[first]
    local before = forget_task(prefix, id)
    if before then count_task(prefix, before.state, -1) end
    local task, fields = {id = id}, {}
    for n, name in ipairs(TASK_FIELDS) do
      fields[2 * n - 1], fields[2 * n] = name, args[first + n]
    end
    write_fields(prefix, task, fields)
    for other in ids_in(task.unmet) do redis.call('SADD', prefix .. K.DEPENDENTS .. other, id) end
    redis.call('ZADD', prefix .. K.ENDED, '+inf', id)
    count_task(prefix, task.state, 1)
    index_task(prefix, task)
    if task.state == 'done' then unblock(prefix, id) end
  end
  return {'ok'}
end

-- ARGV  prefix, id, …
-- Take tasks off the bus that the store never had.
local function drop_tasks(keys, args)
  local prefix, dropped = args[1], 0
  for n = 2, #args do
    local task = forget_task(prefix, args[n])
    if task then
      count_task(prefix, task.state, -1)
      dropped = dropped + 1
    end
  end
  return {'ok', dropped}
end

local function has_id(text, id)
  for other in ids_in(text) do
    if other == id then return true end
  end
  return false
end

-- ARGV  prefix, actor, then for each: task, item of the inbox, reason
-- Tasks that are open wait for a person too: an item is among their `unmet` as another task is.
-- Who holds one holds it no longer, and its attempt is not counted. Safe to repeat.
local function block_tasks(keys, args)
  local prefix, actor, blocked = args[1], args[2], 0
  for n = 3, #args, 3 do
    local task, item = read_task(prefix, args[n]), args[n + 1]
    local waits = task and has_id(task.unmet, item)
    if task and not ENDED_STATES[task.state] and not (waits and task.state == 'blocked') then
      local unmet, attempts = task.unmet, task.attempts
      if not waits then unmet = unmet == '' and item or unmet .. ' ' .. item end
      if task.state == 'leased' then
        attempts = integer(math.max(tonumber(attempts) - 1, 0))
      end
      redis.call('SADD', prefix .. K.DEPENDENTS .. item, task.id)
      move(prefix, task, 'blocked', 'blocked', actor, args[n + 2], {'unmet', unmet,
        'attempts', attempts, 'lease_until', '', 'not_before', '', 'asked_by', ''})
      blocked = blocked + 1
    end
  end
  return {'ok', blocked}
end

-- ARGV  prefix, item ('' for none), then ids of tasks
-- An item is decided: what waited for it alone can be claimed. The tasks named are looked at in
-- any case: one that a rebuild put back as blocked, and that waits for nothing, can be claimed too.
local function unblock_tasks(keys, args)
  local prefix, item, freed = args[1], args[2], 0
  if item ~= '' then unblock(prefix, item) end
  for n = 3, #args do
    local task = read_task(prefix, args[n])
    if task and task.state == 'blocked' and task.unmet == '' then
      move(prefix, task, 'unblocked', 'pending', '', '', {})
      freed = freed + 1
    end
  end
  return {'ok', freed}
end

-- ARGV  prefix, last place, then state and count of each
-- The counts include ended tasks that are no longer on the bus.
local function set_task_counts(keys, args)
  local counters = args[1] .. K.COUNTERS
  if tonumber(redis.call('HGET', counters, 'task') or '0') < tonumber(args[2]) then
    redis.call('HSET', counters, 'task', args[2])
  end
  for n = 3, #args, 2 do redis.call('HSET', counters, 'tasks:' .. args[n], args[n + 1]) end
  return {'ok'}
end
