-- session_page.lua: the next sessions of one shard after a place, by expiry and then by id.
-- Atomic because: members of one score are read in steps, and must not move in between.
-- KEYS[1]  shard of the session index   zset sid → expiry
-- ARGV[1]  expiry of the place          milliseconds; '' = from the start
-- ARGV[2]  session id of the place      '' = from the start
-- ARGV[3]  limit                        >= 1
-- Returns  {sid, expiry, sid, expiry, …}, at most limit pairs; expired ones are left out
-- Writes nothing. Costs the answer and the members that share the score of the place.
local t = redis.call('TIME')
local now = t[1] * 1000 + math.floor(t[2] / 1000)
local limit = tonumber(ARGV[3])
local from = tonumber(ARGV[1])
local low
if from and from > now then
  low = ARGV[1]
else
  low = '(' .. string.format('%.0f', now)
end
local out, offset = {}, 0
while #out < 2 * limit do
  local some = redis.call('ZRANGEBYSCORE', KEYS[1], low, '+inf', 'WITHSCORES', 'LIMIT', offset, limit)
  if #some == 0 then
    break
  end
  for i = 1, #some, 2 do
    local passed = from and tonumber(some[i + 1]) == from and some[i] <= ARGV[2]
    if not passed and #out < 2 * limit then
      out[#out + 1] = some[i]
      out[#out + 1] = some[i + 1]
    end
  end
  offset = offset + limit
end
return out
