-- Parts of an index, all as they are at one moment.
-- KEYS: index. ARGV: 1 'up' or 'down'; 2 how many members of each part at most; then the least and the most of each part.
local out = {}
for at = 3, #ARGV, 2 do
  if ARGV[1] == 'up' then
    out[#out + 1] = redis.call('ZRANGEBYLEX', KEYS[1], ARGV[at], ARGV[at + 1], 'LIMIT', 0, ARGV[2])
  else
    out[#out + 1] = redis.call('ZREVRANGEBYLEX', KEYS[1], ARGV[at + 1], ARGV[at], 'LIMIT', 0, ARGV[2])
  end
end
return out
