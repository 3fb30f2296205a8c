-- Removes a whole saga and what it is found by.
-- KEYS: saga, positions, index. ARGV: 1 the head as it was seen: all 81 bytes for exactly this state, the last 8 for any state of
-- this saga, '' for none at all; 2 where it stands in the index, if there is no head; 3 the id.
-- Gives its positions; nothing if it is another saga, or in another state.
local call, sub = redis.call, string.sub
local head = call('HGET', KEYS[1], 'h')
if ARGV[1] == '' then
  -- Only the place of a saga that is gone, also where its id is in use anew.
  if head and sub(head, 66, 73) == sub(ARGV[2], 1, 8) then return false end
elseif not head or sub(head, -#ARGV[1]) ~= ARGV[1] then
  return false
end
local positions = call('GETRANGE', KEYS[2], 0, -1)
local place = ARGV[2]
if ARGV[1] ~= '' then place = sub(head, 66, 73) .. ARGV[3] end
if ARGV[1] ~= '' or not head then call('UNLINK', KEYS[1], KEYS[2]) end
call('ZREM', KEYS[3], 'a' .. place)
for status = 0, 15 do
  call('ZREM', KEYS[3], 's' .. string.char(status) .. place)
end
-- An id has no control characters, so the byte after the place ends it.
local front = 'r' .. place .. '\0'
for _, member in ipairs(call('ZRANGEBYLEX', KEYS[3], '[' .. front, '(r' .. place .. '\1')) do
  call('ZREM', KEYS[3], member, sub(member, #front + 1) .. place)
end
return positions
