-- index_count.lua: count the sessions of one shard that have not expired.
-- Atomic because: the count must not hold what the drop has just removed.
-- KEYS[1]  shard of the session index   zset sid → expiry
-- Returns  how many members are left
-- Members that have expired are dropped. Twice: the same state.
local t = redis.call('TIME')
redis.call('ZREMRANGEBYSCORE', KEYS[1], '-inf', string.format('%.0f', t[1] * 1000 + math.floor(t[2] / 1000)))
return redis.call('ZCARD', KEYS[1])
