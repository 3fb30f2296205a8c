-- The newest record that names a step as the only one or one of few to come next.
-- KEYS: saga. ARGV: the field that has its sequence.
-- Gives the record or nothing, whether there is such a field, and whether there are records with too many next steps for fields.
local found = redis.call('HMGET', KEYS[1], ARGV[1], 'w')
local record = found[1] and redis.call('HGET', KEYS[1], found[1])
return {record, found[1] and 1 or 0, found[2] and 1 or 0}
