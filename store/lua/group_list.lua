-- group_list.lua: read all groups, if they have changed.
-- Atomic because: the groups and the revision of one answer must belong together.
-- KEYS[1] groups  KEYS[2] rev
-- ARGV[1]  rev        that the caller has
-- Returns  {rev, HGETALL of the groups}; the groups are nil when rev is the caller's
-- Writes nothing.
local rev = redis.call('GET', KEYS[2]) or '0'
if rev == ARGV[1] then
  return {rev, false}
end
return {rev, redis.call('HGETALL', KEYS[1])}
