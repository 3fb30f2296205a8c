-- The heads and positions of sagas of one shard.
-- KEYS: saga and positions of each.
local out = {}
for i = 1, #KEYS, 2 do
  out[(i + 1) / 2] = {redis.call('HGET', KEYS[i], 'h'), redis.call('GETRANGE', KEYS[i + 1], 0, -1)}
end
return out
