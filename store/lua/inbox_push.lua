-- inbox_push.lua: leave a message for a client's stream at the coordinator that has it.
-- Atomic because: between a look at the stream and the writing it could end, and the bounds be passed.
-- KEYS[1]  stream   hash {coordinator, waiting, bytes}
-- KEYS[2]  inbox    stream of {session, id, body}
-- KEYS[3]  size     bytes of the whole inbox
-- ARGV[1]  session
-- ARGV[2]  id             of the message
-- ARGV[3]  body
-- ARGV[4]  ttl            of the inbox, milliseconds, >= 1
-- ARGV[5]  most waiting   messages of one stream
-- ARGV[6]  most bytes     of one stream
-- ARGV[7]  most waiting   messages of the inbox
-- ARGV[8]  most bytes     of the inbox
-- Returns  {session, 1} | {session, 0} no such stream | {session, -1} it is full
-- Twice: the message is there twice, under one id; who reads it tells.
local known = redis.call('HMGET', KEYS[1], 'coordinator', 'waiting', 'bytes')
if not known[1] then
  return {ARGV[1], 0}
end
local size, all = #ARGV[3], redis.call('XLEN', KEYS[2])
local total = 0
if all > 0 then
  total = tonumber(redis.call('GET', KEYS[3]) or '') or 0
end
if (tonumber(known[2]) or 0) >= tonumber(ARGV[5]) or (tonumber(known[3]) or 0) + size > tonumber(ARGV[6])
    or all >= tonumber(ARGV[7]) or total + size > tonumber(ARGV[8]) then
  return {ARGV[1], -1}
end
redis.call('HINCRBY', KEYS[1], 'waiting', 1)
redis.call('HINCRBY', KEYS[1], 'bytes', size)
redis.call('XADD', KEYS[2], '*', 'session', ARGV[1], 'id', ARGV[2], 'body', ARGV[3])
redis.call('PEXPIRE', KEYS[2], ARGV[4])
redis.call('SET', KEYS[3], total + size, 'PX', ARGV[4])
return {ARGV[1], 1}
