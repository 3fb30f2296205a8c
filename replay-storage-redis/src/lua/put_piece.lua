-- Writes a piece of a blob, and with the last one gives it its name.
-- KEYS: the pieces, the blob. ARGV: 1 where the piece begins; 2 the piece; 3 for how many seconds pieces stay; 4 how many bytes the
-- blob has. Gives 1, or 0 if pieces are gone that were there.
local call = redis.call
local at, total = tonumber(ARGV[1]), tonumber(ARGV[4])
local is_last = at + #ARGV[2] == total
if call('STRLEN', KEYS[1]) < at then
  -- The answer to the last piece was lost.
  return is_last and call('STRLEN', KEYS[2]) == total and 1 or 0
end
call('SETRANGE', KEYS[1], at, ARGV[2])
if is_last then
  call('PERSIST', KEYS[1])
  call('RENAME', KEYS[1], KEYS[2])
else
  call('EXPIRE', KEYS[1], ARGV[3])
end
return 1
