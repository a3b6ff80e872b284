-- Removes value and lease, whatever stands there, and tells who waits.
local h = head()
local list = h and waiters(h) or ''
redis.call('DEL', key)
wake(list, '')
return 1
