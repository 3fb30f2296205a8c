-- Appends records to one saga, if its newest record is the one that they follow, and changes all that changes with them.
-- KEYS: saga, positions, index, definitions.
-- ARGV: 1 the first 65 bytes of the head that is expected, with what changes seldom already as it shall be; 2 these bytes as they
-- become; 3 positions; 4 the id; 5 what an origin is indexed under; 6 the definition; 7 'now ttl grace' for a saga that has ended,
-- '-' for one that has ended and is kept; 8 the rest of a new head and the
-- sequence before its first; 9 and on: fields and values.
-- Gives 1: done; 2: the definition is wanted; the head: it is another one; nothing: there is none.
local saga, call, sub = KEYS[1], redis.call, string.sub
local head = call('HGET', saga, 'h')
local new, rest = ARGV[2], sub(ARGV[8], 1, 16)
if head then
  if sub(head, 1, 40) ~= sub(ARGV[1], 1, 40) then return head end
  rest = sub(head, 66)
elseif sub(ARGV[1], 1, 8) ~= '\0\0\0\0\0\0\0\0' then
  return false
end
local definition = sub(new, 50, 65)
if not head or sub(head, 50, 65) ~= definition then
  if ARGV[6] == '' then return 2 end
  call('HSETNX', KEYS[4], definition, ARGV[6])
end
local place = sub(rest, 1, 8) .. ARGV[4]
if not head then
  call('ZADD', KEYS[3], 0, 'a' .. place, 0, 's' .. sub(new, 41, 41) .. place)
elseif sub(head, 41, 41) ~= sub(new, 41, 41) then
  call('ZREM', KEYS[3], 's' .. sub(head, 41, 41) .. place)
  call('ZADD', KEYS[3], 0, 's' .. sub(new, 41, 41) .. place)
end
if ARGV[5] ~= '' and (not head or sub(head, 42, 49) ~= sub(new, 42, 49)) then
  call('ZADD', KEYS[3], 0, ARGV[5] .. place, 0, 'r' .. place .. '\0' .. ARGV[5])
end
-- A call takes no more arguments than Lua's stack has room for.
call('HSET', saga, 'h', new .. rest, unpack(ARGV, 9, math.min(4008, #ARGV)))
for at = 4009, #ARGV, 4000 do
  call('HSET', saga, unpack(ARGV, at, math.min(at + 3999, #ARGV)))
end
if head then
  call('APPEND', KEYS[2], ARGV[3])
  -- Only one that had ended may be about to go by itself.
  local was = string.byte(head, 41)
  if was == 2 or was == 4 or was == 5 then
    call('PERSIST', saga)
    call('PERSIST', KEYS[2])
  end
else
  call('SET', KEYS[2], sub(ARGV[8], 17, 24) .. ARGV[3])
end
-- A saga that has ended goes by itself once no record of it need be kept; a very long one is left to prune.
local now, ttl, grace = string.match(ARGV[7], '^(-?%d+) (-?%d+) (%d+)$')
if not now or call('STRLEN', KEYS[2]) > 28 * 4096 then return 1 end
now, ttl, grace = tonumber(now), tonumber(ttl), tonumber(grace)
local positions, keep = call('GETRANGE', KEYS[2], 8, -1), now
for at = 1, #positions, 28 do
  if string.byte(positions, at + 20) % 2 == 1 then
    local high, low = struct.unpack('>I4I4', positions, at + 8)
    if high ~= 4294967295 then
      keep = math.max(keep, (high - 2147483648) * 4294967296 + low)
    elseif ttl >= 0 then
      keep = math.max(keep, now + ttl)
    else
      return 1
    end
  end
end
local left = string.format('%.0f', math.ceil((keep - now) / 1000) + grace)
call('PEXPIRE', saga, left)
call('PEXPIRE', KEYS[2], left)
return 1
