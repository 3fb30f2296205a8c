-- The newest record of a saga that is not after an instant.
-- KEYS: saga, positions. ARGV: 1 the instant, 8 bytes; 2 'record' for the record, else its sequence, also of one that is gone.
local call = redis.call
local count = (call('STRLEN', KEYS[2]) - 8) / 28
if count < 1 then return false end
local high, low = struct.unpack('>I4I4', ARGV[1])
local before, after = 0, count + 1
while after - before > 1 do
  local middle = math.floor((before + after) / 2)
  local at = 8 + (middle - 1) * 28
  local h, l = struct.unpack('>I4I4', call('GETRANGE', KEYS[2], at, at + 7))
  if h < high or (h == high and l <= low) then before = middle else after = middle end
end
local base = struct.unpack('>I8', call('GETRANGE', KEYS[2], 0, 7))
if ARGV[2] ~= 'record' then return string.format('%.0f', base + before) end
-- Records that were removed alone leave their position behind.
while before > 0 do
  local first = math.max(before - 64, 0)
  local some = call('GETRANGE', KEYS[2], 8 + first * 28, 8 + before * 28 - 1)
  for at = #some - 27, 1, -28 do
    if string.byte(some, at + 20) % 2 == 1 then
      return call('HGET', KEYS[1], struct.pack('>I8', base + first + (at + 27) / 28)) or 0
    end
  end
  before = first
end
return false
