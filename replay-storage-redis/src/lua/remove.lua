-- Removes records of one saga, if it is still the saga that was looked at.
-- KEYS: saga, positions, index.
-- ARGV: 1 its birth; 2 '1' if it must have ended; 3 the sequence up to which all will be gone; 4 how many fields follow;
-- then for each such field: its name, the sequence that it names now, the one that it shall name or ''; then the sequences.
-- Gives which of them were there, a byte each; nothing if it is another saga.
local saga, call, sub = KEYS[1], redis.call, string.sub
local head = call('HGET', saga, 'h')
if not head or sub(head, 74, 81) ~= ARGV[1] then return false end
local status = string.byte(head, 41)
if ARGV[2] == '1' and status ~= 2 and status ~= 4 and status ~= 5 then return false end
local fields = tonumber(ARGV[4])
for at = 5, 4 + fields * 3, 3 do
  if call('HGET', saga, ARGV[at]) == ARGV[at + 1] then
    if ARGV[at + 2] == '' then call('HDEL', saga, ARGV[at]) else call('HSET', saga, ARGV[at], ARGV[at + 2]) end
  end
end
local base = struct.unpack('>I8', call('GETRANGE', KEYS[2], 0, 7))
local out, new_base = {}, struct.unpack('>I8', ARGV[3])
for at = 5 + fields * 3, #ARGV do
  local sequence = struct.unpack('>I8', ARGV[at])
  out[#out + 1] = call('HDEL', saga, ARGV[at]) == 1 and '1' or '0'
  -- Marked even where the front is to go, since it is cut off only when that pays.
  if sequence > base then
    call('SETRANGE', KEYS[2], 8 + (sequence - base - 1) * 28 + 20, '\0')
  end
end
local count = (call('STRLEN', KEYS[2]) - 8) / 28
if new_base > base and (new_base - base) * 2 >= count then
  local ttl = call('PTTL', KEYS[2])
  call('SET', KEYS[2], ARGV[3] .. call('GETRANGE', KEYS[2], 8 + (new_base - base) * 28, -1))
  if ttl > 0 then call('PEXPIRE', KEYS[2], ttl) end
end
return table.concat(out)
