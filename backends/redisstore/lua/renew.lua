-- Makes the lease last ttl from now. A life that is too short is made longer as
-- by the lease itself, and never made shorter.
local me, ttl = ARGV[1], tonumber(ARGV[2])
local h = head()
if not h or me == ZERO or token(h) ~= me then return 0 end
local now, life = millis(), redis.call('PTTL', key)
local till, stop = 0, u64(h, 29)
if has_value(h) then
  till = after(now, ttl)
  if life >= 0 and life < ttl then
    if stop == 0 then stop = now + life end
    redis.call('PEXPIRE', key, ttl)
  end
elseif life < ttl then
  redis.call('PEXPIRE', key, ttl)
end
local count = (u32(h, 37) + 1) % 4294967296
redis.call('SETRANGE', key, 20, bytes(till, 8) .. bytes(stop, 8) .. bytes(count, 4))
return 1
