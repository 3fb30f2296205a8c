-- The newest record of a saga; 0 if there is a head without it; nothing if there is no head.
-- KEYS: saga.
local head = redis.call('HGET', KEYS[1], 'h')
return head and (redis.call('HGET', KEYS[1], string.sub(head, 1, 8)) or 0)
