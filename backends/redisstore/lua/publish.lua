-- Stores the entry if its publisher holds the lease; 1 also when an earlier
-- sending of the same call already did, so that it may be sent again.
local entry, ttl, force, most = ARGV[1], ARGV[2], ARGV[3], tonumber(ARGV[4])
local me = publisher(entry)
local h = head()
if force ~= '1' then
  if not h or me == ZERO then return 0 end
  if token(h) ~= me then return publisher(h) == me and 1 or 0 end
end
local list = h and waiters(h) or ''
redis.call('SET', key, entry, 'PX', ttl)
wake(list, #entry <= most and entry or '')
return 1
