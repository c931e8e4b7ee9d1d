-- node_beat.lua: a heartbeat: renew the lease, keep the record up to date.
-- Atomic because: between reading the epoch and writing the lease another process could register.
-- KEYS[1] index  KEYS[2] record  KEYS[3] lease  KEYS[4] rev  KEYS[5] epoch  KEYS[6] load  KEYS[7] gone
-- ARGV[1]  node id
-- ARGV[2]  instance
-- ARGV[3]  ttl of the lease     milliseconds, >= 1
-- ARGV[4]  floor                highest epoch the caller has seen
-- ARGV[5]  epoch                of the node
-- ARGV[6]  load                 JSON; a change of it alone does not move rev
-- ARGV[7…] field, value, …      of the record
-- Returns  {id, 0, now ms, registered ms} renewed
--        | {id, 1, …} relearned: the record was gone or older; same epoch, counter raised to it
--        | {id, 2, …} recovered: it had been marked unhealthy
--        | {id, -1} the epoch is over: a newer one, another process, or deregistered
-- Twice: the same state.
local epoch = tonumber(ARGV[5])
local record = redis.call('HMGET', KEYS[2], 'epoch', 'instance', 'state', 'registered', 'id')
local lease = redis.call('HMGET', KEYS[3], 'epoch', 'instance')
local gone = tonumber(redis.call('GET', KEYS[7]) or '') or 0
local known = record[5] == ARGV[1] and tonumber(record[1] or '') or nil
local leased = tonumber(lease[1] or '')
if gone >= epoch
  or (known and (known > epoch or (known == epoch and record[2] ~= ARGV[2])))
  or (leased and (leased > epoch or (leased == epoch and lease[2] ~= ARGV[2]))) then
  return {ARGV[1], -1}
end
local t = redis.call('TIME')
local now = t[1] * 1000 + math.floor(t[2] / 1000)
local counter = tonumber(redis.call('GET', KEYS[5]) or '') or 0
local floor = math.max(epoch, tonumber(ARGV[4]))
local rev = tonumber(redis.call('GET', KEYS[4]) or '')
local outcome, changed = 0, rev == nil
if known == nil or known < epoch then
  outcome, changed = 1, true
elseif record[3] == 'unhealthy' then
  outcome, changed = 2, true
end

local at = string.format('%.0f', now)
local registered = tonumber(record[4] or '')
if outcome == 1 then
  registered = now
  redis.call('HSET', KEYS[2], 'id', ARGV[1], 'instance', ARGV[2], 'epoch', ARGV[5], 'registered', at)
end
if outcome > 0 then
  redis.call('HDEL', KEYS[2], 'lapsed')
end
for i = 7, #ARGV, 2 do
  if redis.call('HGET', KEYS[2], ARGV[i]) ~= ARGV[i + 1] then
    redis.call('HSET', KEYS[2], ARGV[i], ARGV[i + 1])
    changed = true
  end
end
if counter < floor then
  redis.call('SET', KEYS[5], string.format('%.0f', floor))
end
redis.call('HSET', KEYS[3], 'instance', ARGV[2], 'epoch', ARGV[5])
redis.call('PEXPIRE', KEYS[3], ARGV[3])
redis.call('ZADD', KEYS[1], at, ARGV[1])
redis.call('HSET', KEYS[6], ARGV[1], ARGV[6])
if changed then
  redis.call('SET', KEYS[4], string.format('%.0f', math.max((rev or 0) + 1, t[1] * 1000000 + t[2])))
end
return {ARGV[1], outcome, now, registered or now}
