-- Records of one saga without their payloads.
-- KEYS: saga. ARGV: sequences, 8 bytes each.
local out = redis.call('HMGET', KEYS[1], unpack(ARGV))
for i, record in ipairs(out) do
  if record then
    out[i] = string.sub(record, 1, 22 + struct.unpack('>I4', record, 19))
  end
end
return out
