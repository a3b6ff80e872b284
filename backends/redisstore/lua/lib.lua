-- Put in front of every script. An entry's head is 72 bytes (see package leash,
-- Store); positions here are Lua's, which count from 1.
local key = KEYS[1]
local ZERO = string.rep('\0', 16) -- nobody's token
local HOUR = 3600000              -- an until further ahead is no lease

local function millis()
  local t = redis.call('TIME')
  return t[1] * 1000 + math.floor(t[2] / 1000)
end

-- An end on the server's clock. millis is rounded down, so one more: a lease
-- never ends before its time.
local function after(now, ttl) return now + ttl + 1 end

local function token(h) return h:sub(5, 20) end

-- Big-endian numbers, without the library that only some servers have.
local function number(h, at, width)
  local n = 0
  for i = at, at + width - 1 do n = n * 256 + h:byte(i) end
  return n
end
local function bytes(n, width)
  local b = ''
  for _ = 1, width do
    b = string.char(n % 256) .. b
    n = math.floor(n / 256)
  end
  return b
end
local function u64(h, at) return number(h, at, 8) end
local function u32(h, at) return number(h, at, 4) end

local function backoff(h) return h:byte(49) % 2 end
local function publisher(h) return h:sub(53, 68) end
local function size(h) return u32(h, 69) end
local function has_value(h) return publisher(h) ~= ZERO end

-- The head of the entry under key, or nil for nothing, foreign bytes and other
-- types; then the type and, of a string, its first bytes.
local function head()
  local t = redis.call('TYPE', key).ok
  if t ~= 'string' then return nil, t end
  local h = redis.call('GETRANGE', key, 0, 71)
  if #h < 72 or h:sub(1, 4) ~= 'LSH\1' then return nil, t end
  return h, t
end

-- The waiters stand behind the value: a byte with the length, then the name of
-- a node's channel, again and again.
local function waiters(h)
  return redis.call('GETRANGE', key, 72 + size(h), -1)
end

-- Tells each waiter that key has changed. Whatever goes wrong here, such as an
-- ACL without rights on the channel, must not spoil the step that was taken.
local function wake(list, entry)
  if #list > 65536 then return end
  local message = bytes(#key, 4) .. key .. entry
  local at = 1
  while at <= #list do
    local channel = list:sub(at + 1, at + list:byte(at))
    if not channel:find('~leash:', 1, true) then return end -- not written by us
    redis.pcall('PUBLISH', channel, message)
    at = at + 1 + #channel
  end
end
