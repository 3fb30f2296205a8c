-- Appends records to a saga that goes on: nothing changes but its newest record.
-- KEYS: saga, positions.
-- ARGV: 1 the first 65 bytes of the head that is expected; 2 these bytes as they become; 3 positions; 4 and on: fields and values.
-- Gives 1: done; 2: more changes; the head: it is another one; nothing: there is none.
local saga, call, sub = KEYS[1], redis.call, string.sub
local head = call('HGET', saga, 'h')
if not head then return false end
if sub(head, 1, 65) ~= ARGV[1] then
  return sub(head, 1, 40) == sub(ARGV[1], 1, 40) and 2 or head
end
call('HSET', saga, 'h', ARGV[2] .. sub(head, 66), unpack(ARGV, 4))
call('APPEND', KEYS[2], ARGV[3])
return 1
