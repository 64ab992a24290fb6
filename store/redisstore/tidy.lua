-- Replaces scores in an index that are still what they were when they were read, or drops their keys.
for i = 2, #ARGV, 3 do
  local key, was, is = ARGV[i], ARGV[i + 1], ARGV[i + 2]
  if redis.call('ZSCORE', KEYS[1], key) == was then
    if is == 'gone' then
      redis.call('ZREM', KEYS[1], key)
    else
      redis.call('ZADD', KEYS[1], is, key)
    end
  end
end
return ARGV[1] .. ' ok'
