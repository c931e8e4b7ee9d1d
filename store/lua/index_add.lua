-- index_add.lua: note when sessions of one shard expire.
-- Atomic because: the expiry of the shard must not be shorter than that of its members.
-- KEYS[1]  shard of the session index   zset sid → expiry
-- ARGV[1]  ttl                          milliseconds, >= 1
-- ARGV[2…] session ids                  all of this shard
-- Returns  how many members are left
-- Members that have expired are dropped on the way. Twice: the same state.
local t = redis.call('TIME')
local now = t[1] * 1000 + math.floor(t[2] / 1000)
local expiry = string.format('%.0f', now + tonumber(ARGV[1]))
for i = 2, #ARGV do
  redis.call('ZADD', KEYS[1], expiry, ARGV[i])
end
redis.call('ZREMRANGEBYSCORE', KEYS[1], '-inf', string.format('%.0f', now))
if redis.call('PTTL', KEYS[1]) < tonumber(ARGV[1]) then
  redis.call('PEXPIRE', KEYS[1], ARGV[1])
end
return redis.call('ZCARD', KEYS[1])
