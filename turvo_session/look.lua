-- What is at the four keys, as far as it can be of use: visible ASCII of a sane size. Everything
-- else (another type, 64 MB, binary) is '?', a value that nobody can use and that a swap replaces.
local function look(keys)
  local seen, all = {}, ''
  for i = 1, 3 do
    local value = redis.pcall('GETRANGE', keys[i], 0, 65535)
    if type(value) == 'table' or #value > 65535 or value:find('[^\32-\126]') then value = '?' end
    seen[2 * i - 1], seen[2 * i] = value, redis.call('PTTL', keys[i])
    all = all .. #value .. ':' .. value
  end
  seen[7] = redis.sha1hex(all)
  local last = redis.pcall('XREVRANGE', keys[4], '+', '-', 'COUNT', 1)
  seen[8] = last[1] and last[1][1] or '0-0'
  return seen
end
