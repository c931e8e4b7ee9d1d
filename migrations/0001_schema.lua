-- 0001_schema.lua: number the keyspace.
-- The layout of number 1 is that of the first release (store/keys.go), which an empty keyspace
-- has already; so there is nothing to change but the number.
-- KEYS[1]  schema   string, the number of the last migration
-- Returns  1 numbered | 0 it had a number
if redis.call('SET', KEYS[1], '1', 'NX') then
  return 1
end
return 0
