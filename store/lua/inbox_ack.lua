-- inbox_ack.lua: take messages for one client's stream out of the inbox.
-- Atomic because: what waits is counted, and each message must be taken off once.
-- KEYS[1]  stream   hash {coordinator, waiting, bytes}
-- KEYS[2]  inbox    stream
-- KEYS[3]  size     bytes of the whole inbox
-- ARGV[1]  session
-- ARGV[2…] entry, bytes   of each message
-- Returns  {session, number that were there}
-- Twice: nothing happens.
local count, size = 0, 0
for i = 2, #ARGV, 2 do
  if redis.call('XDEL', KEYS[2], ARGV[i]) == 1 then
    count = count + 1
    size = size + tonumber(ARGV[i + 1])
  end
end
if count > 0 then
  if redis.call('EXISTS', KEYS[1]) == 1 then
    redis.call('HINCRBY', KEYS[1], 'waiting', -count)
    redis.call('HINCRBY', KEYS[1], 'bytes', -size)
  end
  if redis.call('EXISTS', KEYS[3]) == 1 then
    redis.call('DECRBY', KEYS[3], size)
  end
end
return {ARGV[1], count}
