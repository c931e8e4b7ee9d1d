-- node_snapshot.lua: read all nodes at one moment; the records only if they have changed.
-- Atomic because: records, counts and heartbeats of one answer must belong together.
-- KEYS[1] index  KEYS[2] rev  KEYS[3] load
-- ARGV[1]  stem of the record keys    in the slot of KEYS
-- ARGV[2]  rev                        that the caller has; '' to get the records in any case
-- Returns  {now ms, rev, ZRANGE WITHSCORES, HGETALL of load, records}
--          records: HGETALL of each, in the order of the index; {} for a damaged one; nil when rev is the caller's
-- Writes nothing.
local t = redis.call('TIME')
local rev = redis.call('GET', KEYS[2]) or '0'
local members = redis.call('ZRANGE', KEYS[1], 0, -1, 'WITHSCORES')
local load = redis.pcall('HGETALL', KEYS[3])
if load.err then
  load = {}
end
local records = false
if rev ~= ARGV[2] then
  records = {}
  for i = 1, #members, 2 do
    local record = redis.pcall('HGETALL', ARGV[1] .. members[i])
    if record.err then
      record = {}
    end
    records[#records + 1] = record
  end
end
return {t[1] * 1000 + math.floor(t[2] / 1000), rev, members, load, records}
