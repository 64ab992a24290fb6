-- Adds to a counter, which is its sum and the end of its window. The sum is exact as a string; as a number of Lua it would not be.
local mark, n, now, ends, ttl = ARGV[1], ARGV[2], tonumber(ARGV[3]), ARGV[4], ARGV[5]
local old = redis.call('HGET', KEYS[1], 'end')
if not old or tonumber(old) <= now then
  redis.call('DEL', KEYS[1])
  if tonumber(n) <= 0 then
    return mark .. ' 0'
  end
  redis.call('HSET', KEYS[1], 'end', ends, 'sum', n)
  redis.call('PEXPIRE', KEYS[1], ttl)
  return mark .. ' ' .. n
end
if redis.call('HINCRBY', KEYS[1], 'sum', n) < 0 then
  redis.call('HSET', KEYS[1], 'sum', '0')
end
return mark .. ' ' .. redis.call('HGET', KEYS[1], 'sum')
