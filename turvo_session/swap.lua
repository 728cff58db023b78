-- ARGV: the digest that was seen; then for token, lease and failure a value and its milliseconds
-- (0: remove it, below 0: keep it); then 1 to wake the waiters.
if look(KEYS)[7] ~= ARGV[1] then return 0 end
for i = 1, 3 do
  local value, life = ARGV[2 * i], tonumber(ARGV[2 * i + 1])
  if life > 0 then redis.call('SET', KEYS[i], value, 'PX', life) end
  if life == 0 then redis.call('DEL', KEYS[i]) end
end
-- Never delete a stream of ours: a new one could repeat an id that a waiter has seen. What is none would
-- keep the waiters from waiting.
local kind = redis.call('TYPE', KEYS[4])['ok']
if kind ~= 'stream' and kind ~= 'none' then redis.call('DEL', KEYS[4]) end
if ARGV[8] == '1' then
  redis.call('XADD', KEYS[4], 'MAXLEN', '1', '*', 'w', '')
  redis.call('PEXPIRE', KEYS[4], 3600000)
end
return 1
