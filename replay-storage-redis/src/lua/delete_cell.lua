-- Removes a cell if a condition holds.
-- KEYS: cell, names, expiries. ARGV: 1 'any' or a version of 8 bytes; 2 now, 8 bytes; 3 the caller's token; 4 the key as its user
-- knows it; 5 for how many ms a mark stays, so that a repeat of this call is known.
-- Gives 1: removed; 0: there was none; or a list of the version that is there.
local call, sub = redis.call, string.sub
local old = call('GET', KEYS[1])
if not old then return 0 end
local high, low = struct.unpack('>I4I4', old, 9)
if sub(old, 17, 24) == ARGV[3] and high == 0 and low == 0 then return 1 end
local now_high, now_low = struct.unpack('>I4I4', ARGV[2])
if now_high > high or (now_high == high and now_low >= low) then return 0 end
if ARGV[1] ~= 'any' and ARGV[1] ~= sub(old, 1, 8) then return {sub(old, 1, 8)} end
call('SET', KEYS[1], sub(old, 1, 8) .. '\0\0\0\0\0\0\0\0' .. ARGV[3], 'PX', ARGV[5])
call('ZREM', KEYS[2], ARGV[4])
call('ZREM', KEYS[3], ARGV[4])
return 1
