-- group_delete.lua: forget one group.
-- Atomic because: the revision moves if, and only if, the group was there.
-- KEYS[1] groups  KEYS[2] rev
-- ARGV[1]  name
-- Returns  {name, 1} forgotten | {name, 0} was not there
-- Twice: the same state; the second answers 0.
local t = redis.call('TIME')
local rev = math.max((tonumber(redis.call('GET', KEYS[2]) or '') or 0) + 1, t[1] * 1000000 + t[2])

if redis.call('HDEL', KEYS[1], ARGV[1]) == 0 then
  return {ARGV[1], 0}
end
redis.call('SET', KEYS[2], string.format('%.0f', rev))
return {ARGV[1], 1}
