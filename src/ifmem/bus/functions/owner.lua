-- Which store these keys belong to, and the lease of the bridge that owns it.

-- ARGV  prefix, store_id, bridge, name, lease_ms, adopt ('1' or '0')
-- The same store may always take its keys: a file lock sees to it that one bridge has it open.
local function claim_space(keys, args)
  local prefix, store, bridge, name = args[1], args[2], args[3], args[4]
  local owner = redis.pcall('GET', prefix .. K.OWNER)
  local now = now_ms()
  if owner ~= store then
    local lease = redis.call('HMGET', prefix .. K.BRIDGE, 'name', 'until')
    if lease[1] and tonumber(lease[2]) > now then return {'alive', lease[1]} end
    if args[6] ~= '1' then
      if type(owner) == 'string' then return {'other', owner} end
      if redis.call('EXISTS', prefix .. K.CONTEXT_ACTIVE) == 1 then return {'seed'} end
    end
    redis.call('SET', prefix .. K.OWNER, store)
  end
  local fence = next_number(prefix, 'bridge')
  redis.call('HSET', prefix .. K.BRIDGE, 'bridge', bridge, 'name', name,
    'fence', integer(fence), 'until', integer(now + tonumber(args[5])))
  return {'ok', fence}
end

-- Whether the lease is still this bridge's; nobody takes a lapsed one but by claiming.
local function holds_lease(prefix, bridge, fence)
  local lease = redis.call('HMGET', prefix .. K.BRIDGE, 'bridge', 'fence')
  return lease[1] == bridge and lease[2] == fence
end

-- ARGV  prefix, bridge, fence, lease_ms
local function renew_space(keys, args)
  local prefix = args[1]
  if not holds_lease(prefix, args[2], args[3]) then
    return {'lost', redis.call('HGET', prefix .. K.BRIDGE, 'name') or ''}
  end
  redis.call('HSET', prefix .. K.BRIDGE, 'until', integer(now_ms() + tonumber(args[4])))
  return {'ok', redis.call('GET', prefix .. K.OWNER) or ''}
end

-- ARGV  prefix, bridge, fence
local function leave_space(keys, args)
  if holds_lease(args[1], args[2], args[3]) then redis.call('DEL', args[1] .. K.BRIDGE) end
  return {'ok'}
end
