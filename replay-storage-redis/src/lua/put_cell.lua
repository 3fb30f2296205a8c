-- Writes a cell if a condition holds.
-- KEYS: cell, names, expiries.
-- ARGV: 1 'any', 'absent' or a version of 8 bytes; 2 now in µs; 3 now, 8 bytes; 4 expiry, 8 bytes; 5 the caller's token; 6 the value;
-- 7 the key as its user knows it; 8 for how many ms the server keeps it, '' for ever; 9 the expiry in ms; 10 what has expired, in ms.
-- Gives the new version; or a list of the version that is there, '' for none.
local call, sub = redis.call, string.sub
local old, alive = call('GET', KEYS[1]), false
local version = 0
if old then
  version = struct.unpack('>I8', old)
  -- The answer to this very call was lost.
  if sub(old, 17, 24) == ARGV[5] then return sub(old, 1, 8) end
  local high, low = struct.unpack('>I4I4', old, 9)
  local now_high, now_low = struct.unpack('>I4I4', ARGV[3])
  alive = now_high < high or (now_high == high and now_low < low)
end
local holds = ARGV[1] == 'any' or (ARGV[1] == 'absent' and not alive) or (alive and ARGV[1] == sub(old, 1, 8))
if not holds then return {alive and sub(old, 1, 8) or ''} end
local new = struct.pack('>I8', math.max(version + 1, tonumber(ARGV[2])))
local cell = new .. ARGV[4] .. ARGV[5] .. ARGV[6]
if ARGV[8] == '' then
  call('SET', KEYS[1], cell)
  -- Also where the one before has expired: what is left of it here would take the name away.
  call('ZREM', KEYS[3], ARGV[7])
else
  call('SET', KEYS[1], cell, 'PX', ARGV[8])
  call('ZADD', KEYS[3], ARGV[9], ARGV[7])
end
if not alive then call('ZADD', KEYS[2], 0, ARGV[7]) end
-- The server removes expired cells; their names go a few with each write.
for _, name in ipairs(call('ZRANGEBYSCORE', KEYS[3], '-inf', ARGV[10], 'LIMIT', 0, 4)) do
  if name ~= ARGV[7] then
    call('ZREM', KEYS[2], name)
    call('ZREM', KEYS[3], name)
  end
end
return new
