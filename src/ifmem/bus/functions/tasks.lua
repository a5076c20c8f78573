-- Tasks: posted, claimed under a lease, finished once.

-- ARGV  prefix, id, run, priority, max_attempts, body, actor, ids it depends on, ids known done
-- A dependency is met when it is done; one that is not on the bus must be known to the caller.
local function post_task(keys, args)
  local prefix, id, run = args[1], args[2], args[3]
  local known = redis.pcall('HGET', prefix .. K.TASK .. id, 'state')
  if type(known) == 'string' then return {'known', last_entry(prefix), known} end
  local refused = refusal(prefix)
  if refused then return refused end
  local met, unmet = {}, {}
  for done in ids_in(args[9]) do met[done] = true end
  for other in ids_in(args[8]) do
    local found = redis.pcall('HMGET', prefix .. K.TASK .. other, 'state', 'run')
    if found[2] == run then
      if found[1] ~= 'done' then unmet[#unmet + 1] = other end
    elseif not met[other] then
      return {'unknown-dependency', other}
    end
  end
  local state = #unmet == 0 and 'pending' or 'blocked'
  local task, now = {id = id}, integer(now_ms())
  write_fields(prefix, task, {'state', state, 'run', run, 'priority', args[4],
    'place', integer(next_number(prefix, 'task')), 'attempts', '0', 'max_attempts', args[5],
    'holder', '', 'fence', '', 'lease_until', '', 'not_before', '', 'posted_at', now,
    'ended_at', '', 'depends_on', args[8], 'unmet', table.concat(unmet, ' '), 'finding', '',
    'asked_by', '', 'event', 'posted', 'request', '', 'revision', '1', 'reasons', '',
    'body', args[6]})
  for _, other in ipairs(unmet) do redis.call('SADD', prefix .. K.DEPENDENTS .. other, id) end
  redis.call('ZADD', prefix .. K.ENDED, '+inf', id)
  count_task(prefix, state, 1)
  index_task(prefix, task)
  local entry = record_step(prefix, task, args[7], 'run', run, 'priority', args[4],
    'max_attempts', args[5], 'place', task.place, 'depends_on', args[8], 'body', args[6])
  return {'new', entry, state}
end

-- What `move` does, for several ready tasks of one run at once: what is common to them is done
-- together, and one fence serves all. Fills `rows`; returns the last log entry.
local function lease_to(prefix, worker, tasks, ends, request, rows)
  local fence, entry = next_fence(prefix), nil
  local ids, leases, assisted = {}, {}, 0
  for n, task in ipairs(tasks) do
    if task.state == 'needs_assist' then assisted = assisted + 1 end
    entry = take_step(prefix, task, 'claimed', 'leased', worker, '', {'holder', worker,
      'fence', fence, 'lease_until', ends, 'attempts', integer(tonumber(task.attempts) + 1),
      'asked_by', '', 'request', request}, 'lease_until', ends)
    ids[n], leases[2 * n - 1], leases[2 * n] = task.id, ends, task.id
    rows[n] = task_row(prefix, task.id)
  end
  redis.call('ZREM', prefix .. K.READY .. tasks[1].run, unpack(ids))
  redis.call('ZADD', prefix .. K.LEASES, unpack(leases))
  redis.pcall('RPUSH', prefix .. K.WORKER_TASKS .. worker, unpack(ids))
  count_task(prefix, 'leased', #ids)
  if assisted < #ids then count_task(prefix, 'pending', assisted - #ids) end
  if assisted > 0 then count_task(prefix, 'needs_assist', -assisted) end
  return entry
end

-- ARGV  prefix, worker, run, lease_ms, count, request
-- Lease tasks to a worker. `request` makes it safe to send a claim again whose answer was lost.
local function claim_tasks(keys, args)
  local prefix, worker, run, request = args[1], args[2], args[3], args[6]
  local count, now = tonumber(args[5]), now_ms()
  local rows = claimed_before(prefix, worker, request, count, now)
  if #rows > 0 then return {'claimed', last_entry(prefix), rows} end
  local refused = refusal(prefix)
  if refused then return refused end
  local chosen
  repeat
    local reaped = reap(prefix, now, REAPED_AT_ONCE)
    chosen = choose(prefix, worker, run, count)
  until #chosen > 0 or reaped < REAPED_AT_ONCE
  if #chosen == 0 then
    -- Not when some are ready that only this worker may not have: others are to be woken for them.
    if redis.call('EXISTS', prefix .. K.READY .. run) == 0 then
      redis.call('DEL', prefix .. K.WAKE .. run)
    end
    return {'none', next_due(prefix, now)}
  end
  local ends = integer(now + tonumber(args[4]))
  return {'claimed', lease_to(prefix, worker, chosen, ends, request, rows), rows}
end

-- ARGV  prefix, id, worker, fence, lease_ms
local function renew_task(keys, args)
  local prefix, id = args[1], args[2]
  local task = read_task(prefix, id)
  if not task then return missing(prefix) end
  local refused = not_held(prefix, task, args[3], args[4], 'renew')
  if refused then return refused end
  local ends = integer(now_ms() + tonumber(args[5]))
  write_fields(prefix, task, {'lease_until', ends})
  redis.call('ZADD', prefix .. K.LEASES, ends, id)
  return {'ok', ends}
end

-- ARGV  prefix, id, worker, fence, outcome (done, failed), reason, final ('1' or '0'), base_ms,
--       cap_ms, then empty or: finding id, body, head, hidden ('1' or '0')
-- The one accepted completion, with its finding in the same step and the same log entry.
local function finish_task(keys, args)
  local prefix, id, worker, fence, outcome = args[1], args[2], args[3], args[4], args[5]
  local finding = args[10] or ''
  local task = read_task(prefix, id)
  if not task then return missing(prefix) end
  if is_repeated(task, worker, fence, outcome) then
    return {'known', last_entry(prefix), task.state}
  end
  local refused = refusal(prefix) or not_held(prefix, task, worker, fence, 'finish')
  if refused then return refused end
  local state, not_before = outcome, ''
  if outcome == 'failed' and args[7] ~= '1' then
    local attempts = tonumber(task.attempts)
    state = attempts < tonumber(task.max_attempts) and 'pending' or 'dead'
    local delay = math.min(tonumber(args[9]), tonumber(args[8]) * 2 ^ (attempts - 1))
    if state == 'pending' and delay > 0 then not_before = integer(now_ms() + delay) end
  end
  local logged, sequence = {'finding_id', finding}, ''
  if not_before ~= '' then logged = {'finding_id', finding, 'not_before', not_before} end
  if finding ~= '' and not redis.call('ZSCORE', prefix .. K.FINDINGS, finding) then
    sequence = integer(put_finding(prefix, finding, args[11], args[12], args[13] == '1'))
    local size = #logged
    logged[size + 1], logged[size + 2] = 'sequence', sequence
    logged[size + 3], logged[size + 4] = 'body', args[11]
  end
  local entry = move(prefix, task, outcome, state, worker, args[6],
    {'lease_until', '', 'not_before', not_before, 'finding', finding}, unpack(logged))
  if state == 'done' then unblock(prefix, id) end
  return {'new', entry, state, sequence}
end

local function give_back(prefix, task, worker, assist, reason)
  local attempts = integer(math.max(tonumber(task.attempts) - 1, 0))
  local event, state = 'released', 'pending'
  if assist then event, state = 'assist', 'needs_assist' end
  return move(prefix, task, event, state, worker, reason, {'lease_until', '',
    'attempts', attempts, 'asked_by', assist and worker or ''})
end

-- ARGV  prefix, id, worker, fence, assist ('1' or '0'), reason
-- Give a task back as it was, the attempt too; with `assist` for anyone but this worker.
local function release_task(keys, args)
  local prefix, id, worker, fence, assist = args[1], args[2], args[3], args[4], args[5] == '1'
  local task = read_task(prefix, id)
  if not task then return missing(prefix) end
  if is_repeated(task, worker, fence, assist and 'assist' or 'released') then
    return {'known', last_entry(prefix), task.state}
  end
  local refused = refusal(prefix) or not_held(prefix, task, worker, fence, 'release')
  if refused then return refused end
  local entry = give_back(prefix, task, worker, assist, args[6])
  return {'new', entry, task.state}
end

-- ARGV  prefix, worker
-- Give back all that a worker holds, when it stops.
local function release_all(keys, args)
  local prefix, worker = args[1], args[2]
  local refused = refusal(prefix)
  if refused then return refused end
  local list = prefix .. K.WORKER_TASKS .. worker
  local released, now = 0, now_ms()
  for _, id in ipairs(redis.pcall('LRANGE', list, 0, -1)) do
    local task = read_task(prefix, id)
    if task and task.state == 'leased' and task.holder == worker then
      if tonumber(task.lease_until) > now then
        give_back(prefix, task, worker, false, '')
        released = released + 1
      else
        expire_lease(prefix, task)
      end
    end
  end
  return {'ok', last_entry(prefix), released}
end

-- ARGV  prefix, id, actor, reason
local function cancel_task(keys, args)
  local prefix, actor = args[1], args[3]
  local task = read_task(prefix, args[2])
  if not task then return missing(prefix) end
  if task.state == 'cancelled' then return {'known', last_entry(prefix), task.state} end
  local refused = refusal(prefix)
  if refused then return refused end
  if ENDED_STATES[task.state] then return wrong_state(prefix, task, actor, 'cancel') end
  local entry = move(prefix, task, 'cancelled', 'cancelled', actor, args[4],
    {'lease_until', '', 'not_before', '', 'asked_by', ''})
  return {'new', entry, task.state}
end

-- ARGV  prefix, id, actor
-- A task that ended without success starts anew; why it failed before stays with it.
local function requeue_task(keys, args)
  local prefix, actor = args[1], args[3]
  local task = read_task(prefix, args[2])
  if not task then return missing(prefix) end
  if task.event == 'requeued' then return {'known', last_entry(prefix), task.state} end
  local refused = refusal(prefix)
  if refused then return refused end
  if task.state ~= 'needs_assist' and (not ENDED_STATES[task.state] or task.state == 'done') then
    return wrong_state(prefix, task, actor, 'requeue')
  end
  local state = task.unmet == '' and 'pending' or 'blocked'
  local entry = move(prefix, task, 'requeued', state, actor, '',
    {'attempts', '0', 'not_before', '', 'asked_by', '', 'finding', ''})
  return {'new', entry, state}
end

-- ARGV  prefix, id
local function show_task(keys, args)
  if not read_task(args[1], args[2]) then return {'unknown'} end
  return {'ok', task_row(args[1], args[2])}
end
