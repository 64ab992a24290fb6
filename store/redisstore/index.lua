-- Adds a record to the index of its owner, from which it drops what expired long ago. The index never comes to live shorter.
local mark, key, score, stale, ttl, most = ARGV[1], ARGV[2], ARGV[3], ARGV[4], ARGV[5], tonumber(ARGV[6])
redis.call('ZREMRANGEBYSCORE', KEYS[1], 0, stale)
if redis.call('ZCARD', KEYS[1]) >= most and not redis.call('ZSCORE', KEYS[1], key) then
  return mark .. ' full'
end
local lives = redis.call('PTTL', KEYS[1])
redis.call('ZADD', KEYS[1], 'GT', score, key)
if ttl == '' then
  redis.call('PERSIST', KEYS[1])
elseif lives ~= -1 and lives < tonumber(ttl) then
  redis.call('PEXPIRE', KEYS[1], ttl)
end
return mark .. ' ok'
