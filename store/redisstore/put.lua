-- Replaces the record if it is there in the version that is expected. Versions are compared as bytes. Times are numbers, which are exact
-- up to 2^53.
local mark, expected, now, data, ttl = ARGV[1], ARGV[2], tonumber(ARGV[3]), ARGV[4], ARGV[5]
local there = string.rep('\0', 8)
local old = redis.call('GET', KEYS[1])
if old then
  if #old < 25 or string.byte(old, 1, 1) ~= 1 then
    return redis.error_reply('ERR what is stored under the key of a record is none')
  end
  local expiry = 0
  for i = 10, 17 do
    expiry = expiry * 256 + string.byte(old, i, i)
  end
  if expiry == 0 or expiry > now then
    there = string.sub(old, 2, 9)
  end
end
if there ~= expected then
  -- Neither changes anything, but a replica refuses both: one that lags knows nothing of conflicts.
  if old then
    redis.call('SETRANGE', KEYS[1], 0, '')
  else
    redis.call('DEL', KEYS[1])
  end
  return mark .. ' conflict'
end
if ttl == '' then
  redis.call('SET', KEYS[1], data)
else
  redis.call('SET', KEYS[1], data, 'PX', ttl)
end
return mark .. ' ok'
