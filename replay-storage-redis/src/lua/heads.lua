-- The heads of sagas of one shard, each with its newest record without payload.
-- KEYS: sagas.
local out = {}
for i, saga in ipairs(KEYS) do
  local head = redis.call('HGET', saga, 'h')
  local record = head and redis.call('HGET', saga, string.sub(head, 1, 8))
  out[i] = {head, record and string.sub(record, 1, 22 + struct.unpack('>I4', record, 19))}
end
return out
