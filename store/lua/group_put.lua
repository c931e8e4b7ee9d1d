-- group_put.lua: write one group: a new one, or another content for one that stands.
-- Atomic because: of two callers that create one name, one must be told that it exists.
-- KEYS[1] groups  KEYS[2] rev
-- ARGV[1]  name
-- ARGV[2]  content    a JSON object that holds at least the name; when it was written is added to it
-- ARGV[3]  new        1: it must not be there yet; 0: it must
-- ARGV[4]  most       groups there may be
-- Returns  {name, 1} written | {name, 0} not there | {name, -1} there already | {name, -2} too many
-- Twice: the same state but for the times; a second creation answers -1.
local there = redis.call('HEXISTS', KEYS[1], ARGV[1]) == 1
if ARGV[3] == '1' then
  if there then
    return {ARGV[1], -1}
  end
  if redis.call('HLEN', KEYS[1]) >= tonumber(ARGV[4]) then
    return {ARGV[1], -2}
  end
elseif not there then
  return {ARGV[1], 0}
end
local t = redis.call('TIME')
local now = string.format('%.0f', t[1] * 1000 + math.floor(t[2] / 1000))
local rev = math.max((tonumber(redis.call('GET', KEYS[2]) or '') or 0) + 1, t[1] * 1000000 + t[2])

redis.call('HSET', KEYS[1], ARGV[1], string.sub(ARGV[2], 1, -2) .. ',"updated":' .. now .. '}')
redis.call('SET', KEYS[2], string.format('%.0f', rev))
return {ARGV[1], 1}
