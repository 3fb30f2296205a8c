-- Removes a log and its name. KEYS: log, names. ARGV: the log's name. Gives 1 if there was one.
redis.call('ZREM', KEYS[2], ARGV[1])
return redis.call('UNLINK', KEYS[1])
