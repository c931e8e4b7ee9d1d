-- group_restore.lua: put all groups back into a Redis that was emptied.
-- Atomic because: of several coordinators that notice, one writes, and nobody sees half of the groups.
-- KEYS[1] groups  KEYS[2] rev
-- ARGV[1…] name, content, …   content is JSON with the time of its last change
-- Returns  {'groups', 1} written | {'groups', 0} there is a revision: Redis knows better
-- Twice: the second writes nothing.
if redis.call('EXISTS', KEYS[2]) == 1 then
  return {'groups', 0}
end
local t = redis.call('TIME')

redis.call('DEL', KEYS[1])
for i = 1, #ARGV, 2 do
  redis.call('HSET', KEYS[1], ARGV[i], ARGV[i + 1])
end
redis.call('SET', KEYS[2], string.format('%.0f', t[1] * 1000000 + t[2]))
return {'groups', 1}
