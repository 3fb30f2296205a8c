-- Appends entries to a log, if it is as long as expected.
-- KEYS: log, names. ARGV: 1 the expected length; 2 the log's name; 3 and on: entries, each after 8 bytes of time.
-- Gives the new length, or minus one minus the length that it has.
local call = redis.call
local length, expected, count = call('LLEN', KEYS[1]), tonumber(ARGV[1]), #ARGV - 2
if length ~= expected then
  if count == 0 or length ~= expected + count then return -1 - length end
  for i, entry in ipairs(call('LRANGE', KEYS[1], expected, -1)) do
    if string.sub(entry, 9) ~= string.sub(ARGV[i + 2], 9) then return -1 - length end
  end
  return length
end
if count == 0 then return length end
if length == 0 then call('ZADD', KEYS[2], 0, ARGV[2]) end
for at = 3, #ARGV, 4000 do
  length = call('RPUSH', KEYS[1], unpack(ARGV, at, math.min(at + 3999, #ARGV)))
end
return length
