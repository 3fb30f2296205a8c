-- A run of a saga's positions.
-- KEYS: positions. ARGV: 1 the sequence to begin at; 2 'up' or 'down'; 3 how many.
-- Gives the sequence of the first, the positions in ascending order, and the newest sequence.
local length = redis.call('STRLEN', KEYS[1])
if length < 8 then return false end
local base = struct.unpack('>I8', redis.call('GETRANGE', KEYS[1], 0, 7))
local newest = base + (length - 8) / 28
local from, count, first, last = tonumber(ARGV[1]), tonumber(ARGV[3])
if ARGV[2] == 'up' then
  first = math.max(from, base + 1)
  last = math.min(first + count - 1, newest)
else
  last = math.min(from, newest)
  first = math.max(last - count + 1, base + 1)
end
local some = ''
if first <= last then
  some = redis.call('GETRANGE', KEYS[1], 8 + (first - base - 1) * 28, 8 + (last - base) * 28 - 1)
end
return {string.format('%.0f', first), some, string.format('%.0f', newest)}
