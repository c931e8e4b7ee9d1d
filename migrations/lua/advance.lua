-- advance.lua: move the schema number on by one, while the lease is held.
-- Atomic because: a runner whose lease has lapsed must not write over its successor's number.
-- KEYS[1]  schema   string
-- KEYS[2]  lease    string, the runner's token
-- ARGV[1]  token
-- ARGV[2]  number   of the migration that has just run
-- Returns  1 stands at number | 0 the lease is not the caller's | -1 the number is another than expected
if redis.call('GET', KEYS[2]) ~= ARGV[1] then
  return 0
end
local stands = tonumber(redis.call('GET', KEYS[1]) or '0')
local number = tonumber(ARGV[2])
if stands ~= number and stands ~= number - 1 then
  return -1
end
redis.call('SET', KEYS[1], ARGV[2])
return 1
