-- session_subscription.lua: add a subscription to a resource to those of a session, or take one away.
-- Atomic because: the set must not outlive its session, and its state must change with it.
-- KEYS[1]  session         hash
-- KEYS[2]  subscriptions   set
-- ARGV[1]  session id
-- ARGV[2]  member    <server> <uri>
-- ARGV[3]  wanted    1 = add, 0 = take away
-- ARGV[4]  most      how many a session may have
-- ARGV[5]  ttl       of the set, milliseconds, >= 1
-- Returns  {id, 1, state before, state now} | {id, 0} no such session | {id, -1} ended | {id, -2} it has most of them
-- Twice: the same state. A state is Redis's clock in microseconds: another one after each change, also where Redis was emptied.
local known = redis.call('HMGET', KEYS[1], 'id', 'ended', 'subs')
if known[2] then
  return {ARGV[1], -1}
end
if known[1] ~= ARGV[1] then
  return {ARGV[1], 0}
end
local before = known[3] or ''
local has = redis.call('SISMEMBER', KEYS[2], ARGV[2])
if ARGV[3] == '1' and has == 0 and redis.call('SCARD', KEYS[2]) >= tonumber(ARGV[4]) then
  return {ARGV[1], -2}
end
local t = redis.call('TIME')
local now = before

if tostring(has) ~= ARGV[3] then
  now = string.format('%.0f', math.max((tonumber(before) or 0) + 1, t[1] * 1000000 + t[2]))
  if has == 0 then
    redis.call('SADD', KEYS[2], ARGV[2])
  else
    redis.call('SREM', KEYS[2], ARGV[2])
  end
  redis.call('HSET', KEYS[1], 'subs', now)
end
redis.call('PEXPIRE', KEYS[2], ARGV[5])
return {ARGV[1], 1, before, now}
