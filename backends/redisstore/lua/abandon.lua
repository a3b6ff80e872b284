-- Gives the lease up: without a value the entry goes, a value stays with the
-- life it had before the lease, and a back-off may stand in the lease's place.
local me, pause = ARGV[1], math.min(tonumber(ARGV[2]), HOUR)
local h = head()
if not h or me == ZERO or token(h) ~= me then return 0 end
local list = waiters(h)
if not has_value(h) then
  redis.call('DEL', key)
  wake(list, '')
  return 1
end
local now, life, stop = millis(), redis.call('PTTL', key), u64(h, 29)
local area = string.rep('\0', 48)
if pause > 0 then
  area = ZERO .. bytes(after(now, pause), 8) .. bytes(0, 12) .. bytes(pause, 4) .. bytes(0, 4) .. '\1\0\0\0'
end
if list == '' then
  redis.call('SETRANGE', key, 4, area)
else -- who waits is told now, so the list is cut off
  local value = redis.call('GETRANGE', key, 52, 71 + size(h))
  redis.call('SET', key, h:sub(1, 4) .. area .. value, 'KEEPTTL')
end
if stop > 0 and stop < now + life then -- an end beyond the life is none
  redis.call('PEXPIRE', key, math.max(stop - now, 0))
end
wake(list, '')
return 1
