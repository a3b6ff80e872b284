-- The common case before everything else: the lease of a key that had no value,
-- for which nobody waits, is a head and nothing more. The rest of this script
-- takes three times as long to be set up as this takes to run.
if ARGV[3] ~= '1' then
  local b = redis.pcall('GETRANGE', KEYS[1], 0, 72)
  if type(b) == 'string' and #b == 72 and b:sub(1, 4) == 'LSH\1' and
    b:sub(5, 20) == ARGV[1]:sub(53, 68) and b:sub(5, 20) ~= string.rep('\0', 16) then
    redis.call('SET', KEYS[1], ARGV[1], 'PX', ARGV[2])
    return 1
  end
end
