-- Gives a blob that was written in pieces its name.
-- KEYS: the pieces, the blob. ARGV: how many bytes there must be. Gives 1, or 0 if they are not there.
if redis.call('EXISTS', KEYS[1]) == 0 then
  return redis.call('STRLEN', KEYS[2]) == tonumber(ARGV[1]) and 1 or 0
end
if redis.call('STRLEN', KEYS[1]) ~= tonumber(ARGV[1]) then return 0 end
redis.call('PERSIST', KEYS[1])
redis.call('RENAME', KEYS[1], KEYS[2])
return 1
