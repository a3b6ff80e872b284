-- Grants the lease, or says what stands in its way; the rules are Store.Lease's.
-- Answers {1}, {1, head} where a value stays, or {0, milliseconds left, entry}.
local lease, ttl = ARGV[1], tonumber(ARGV[2])
local seen = ARGV[3]                             -- publisher of what the caller saw
local seen_sum, seen_type = ARGV[4], ARGV[5]     -- of something foreign, else empty
local robbed = ARGV[6]                           -- the lease to steal, else empty
local channel, room = ARGV[7], tonumber(ARGV[8]) -- to be told of a change, else empty

local function fresh()
  redis.call('SET', key, lease, 'PX', ttl)
  return {1}
end

-- Milliseconds for which the lease in h stands, zero when none does. Without a
-- value it stands as long as the entry, unless somebody made that persistent.
local function standing(h, now, life)
  if token(h) == ZERO and backoff(h) == 0 then return 0 end
  local left = u64(h, 21) - now
  if u64(h, 21) == 0 and not has_value(h) and life >= 0 then
    left = math.max(life, 1)
  end
  if left <= 0 or left > after(0, HOUR) then return 0 end
  local length = u32(h, 41)
  return length > 0 and math.min(left, length) or left
end

-- Writes the lease area. A life that is too short for the lease is made longer,
-- and the entry notes where it ended before; an older note stays.
local function take(h, now, life)
  local till, stop = 0, 0
  if has_value(h) then
    till, stop = after(now, ttl), u64(h, 29)
    if life >= 0 and life < ttl then
      if stop == 0 then stop = now + life end
      redis.call('PEXPIRE', key, ttl)
    end
  else
    redis.call('PEXPIRE', key, ttl)
  end
  local area = lease:sub(5, 20) .. bytes(till, 8) .. bytes(stop, 8) .. lease:sub(37, 52)
  redis.call('SETRANGE', key, 4, area)
  if not has_value(h) then return {1} end
  return {1, h:sub(1, 4) .. area .. h:sub(53, 72)}
end

-- Puts the caller's channel on the list of those who wait, unless it is there or
-- the list is full. The list must begin where the value ends: an entry that was
-- cut short has none. A failure (out of memory) costs a hint and nothing else.
local function enlist(h)
  if channel == '' then return end
  if redis.call('STRLEN', key) < 72 + size(h) then return end
  local list, name = waiters(h), string.char(#channel) .. channel
  if #list + #name > room or list:find(name, 1, true) then return end
  redis.pcall('APPEND', key, name)
end

local h, t = head()
if t == 'none' then return fresh() end
if not h then
  if t ~= 'string' then
    if t == seen_type then return fresh() end
    return {0, 0, 'redis:wrongtype:' .. t}
  end
  local b = redis.call('GET', key)
  if seen_sum ~= '' and redis.sha1hex(b) == seen_sum then return fresh() end
  return {0, 0, b}
end

local now, life = millis(), redis.call('PTTL', key)
local left = standing(h, now, life)
if left == 0 and not has_value(h) then return fresh() end
if publisher(h) ~= seen then return {0, 0, redis.call('GET', key)} end
if left > 0 and token(h) .. h:sub(37, 40) .. backoff(h) ~= robbed then
  enlist(h)
  return {0, left, h}
end
return take(h, now, life)
