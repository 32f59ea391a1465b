"""What the server does in one piece, in its own Lua: no other replica can come between the steps of a script.

Keys of a namespace, all with the same hash tag:

=========  ========  ==================================================================================
meta       hash      format, epoch, encoder, seq, head, entries, routes, digest, bytes, horizon
stream     stream    the entries, newest last; the id is the sequence number, so no clock takes part
state      hash      route name -> its record
versions   hash      route name -> "seq uid digest"; the digest of a dropped route is "-"
dropped    zset      names of dropped routes by sequence number; the oldest are forgotten
sizes      list      bytes of each entry of the stream, oldest first
origins    hash      writer -> the number of its last entry, so that what is sent twice counts once
=========  ========  ==================================================================================

An entry has the fields u (its uid), p (the uid of the entry before it), n (how many there were) and, for each route,
rI (the record) with vI ("seq uid") if the route keeps the version it had elsewhere.
"""

from __future__ import annotations

#: Changes whenever keys, entries or records mean something else.
FORMAT = "synaptoroute-sync-1"

_COMMON = """
local meta, stream, state, versions, dropped, sizes, origins = unpack(KEYS)
local function number(value) return string.format('%.0f', value) end
"""

#: ARGV: format, a new epoch, encoder fingerprint, encoder name. Returns a word and what goes with it: "foreign" and a
#: key; "format" and the other format; "encoder", its fingerprint and name; or "open" and what ``status`` returns.
OPEN = (
    _COMMON
    + """
local kinds = {hash = {meta, state, versions, origins}, stream = {stream}, zset = {dropped}, list = {sizes}}
for kind, keys in pairs(kinds) do
  for _, key in ipairs(keys) do
    local is = redis.call('TYPE', key).ok
    if is ~= 'none' and is ~= kind then return {'foreign', key} end
  end
end
local have = redis.call('HMGET', meta, 'format', 'encoder', 'encoder_name', 'routes', 'entries')
if have[1] and have[1] ~= ARGV[1] then return {'format', have[1]} end
if not have[1] and redis.call('EXISTS', meta) == 1 then return {'foreign', meta} end
if have[1] and have[2] ~= ARGV[3] then return {'encoder', have[2], have[3]} end
if not have[1] then
  local last = redis.call('XREVRANGE', stream, '+', '-', 'COUNT', 1)[1]
  if last then
    local fields = {}
    for i = 1, #last[2], 2 do fields[last[2][i]] = true end
    if not (fields.u and fields.p and fields.n and fields.r1) then return {'foreign', stream} end
  end
end
-- A server that evicts keys may have lost some of ours: what is left of them is of no use.
local lost = have[1] and (
  (tonumber(have[4]) > 0 and (redis.call('EXISTS', state, versions) < 2))
  or (tonumber(have[5]) > 0 and redis.call('EXISTS', stream) == 0))
if lost or not have[1] then
  redis.call('DEL', meta, stream, state, versions, dropped, sizes, origins)
  redis.call('HSET', meta, 'format', ARGV[1], 'epoch', ARGV[2], 'encoder', ARGV[3], 'encoder_name', ARGV[4],
    'seq', 0, 'head', ARGV[2], 'entries', 0, 'routes', 0, 'digest', string.rep('0', 32), 'bytes', 0, 'horizon', 0)
end
local found = redis.call('HMGET', meta, 'seq', 'head', 'entries', 'routes', 'digest', 'horizon')
return {'open', unpack(found)}
"""
)

#: ARGV: encoder fingerprint, writer or "" for none, its number, least sequence number so far, most entries, most bytes,
#: most dropped names; then for each route its name, digest, record, and the seq and uid it keeps or "" and "".
#: Returns "absent" if there is no stream; "refused" if it is another encoder's; "seen" for what was sent before; "ok".
PUBLISH = (
    _COMMON
    + """
local have = redis.call('HMGET', meta, 'encoder', 'seq', 'head', 'entries', 'routes', 'digest', 'bytes', 'horizon')
if not have[1] then return {'absent'} end
if have[1] ~= ARGV[1] then return {'refused'} end
local writer, count = ARGV[2], tonumber(ARGV[3])
if writer ~= '' and count <= tonumber(redis.call('HGET', origins, writer) or '-1') then return {'seen'} end
local uid = ARGV[2] .. ':' .. ARGV[3]
if writer == '' then uid = ARGV[3] end

local function parsed(version)
  local seq, its, digest = string.match(version, '^(%d+) (%S+) (%S+)$')
  return tonumber(seq), its, digest
end
local function mixed(digest, other)
  local out = {}
  for i = 1, 32, 8 do
    local a, b = tonumber(string.sub(digest, i, i + 7), 16), tonumber(string.sub(other, i, i + 7), 16)
    local x = bit.bxor(a, b)
    if x < 0 then x = x + 4294967296 end
    out[#out + 1] = string.format('%08x', x)
  end
  return table.concat(out)
end

local seq = math.max(tonumber(have[2]), tonumber(ARGV[4]))
local taken = {}
for i = 8, #ARGV, 5 do
  local old = redis.call('HGET', versions, ARGV[i])
  local keeps = tonumber(ARGV[i + 3])
  local take = true
  if keeps and old then
    local its_seq, its_uid = parsed(old)
    take = keeps > its_seq or (keeps == its_seq and ARGV[i + 4] > its_uid)
  end
  if take then
    taken[#taken + 1] = {i, old}
    if keeps then seq = math.max(seq, keeps) end
  end
end
if #taken == 0 then return {'ok'} end
seq = seq + 1

local function add()
  local fields = {'u', uid, 'p', have[3], 'n', number(tonumber(have[4]) + 1)}
  for place, one in ipairs(taken) do
    local i = one[1]
    fields[#fields + 1] = 'r' .. place
    fields[#fields + 1] = ARGV[i + 2]
    if ARGV[i + 3] ~= '' then
      fields[#fields + 1] = 'v' .. place
      fields[#fields + 1] = ARGV[i + 3] .. ' ' .. ARGV[i + 4]
    end
  end
  return redis.pcall('XADD', stream, number(seq) .. '-0', unpack(fields))
end
local added = add()
if type(added) == 'table' and added.err then
  -- Somebody else has added an entry with a higher id: go on after it.
  local info = redis.pcall('XINFO', 'STREAM', stream)
  if info.err then return redis.error_reply(added.err) end
  for i = 1, #info, 2 do
    if info[i] == 'last-generated-id' then
      seq = math.max(seq, tonumber(string.match(info[i + 1], '^(%d+)')) + 1)
    end
  end
  added = add()
  if type(added) == 'table' and added.err then return redis.error_reply(added.err) end
end

local routes, digest, bytes = tonumber(have[5]), have[6], 0
for _, one in ipairs(taken) do
  local i, old = one[1], one[2]
  local name, its = ARGV[i], ARGV[i + 1]
  bytes = bytes + #ARGV[i + 2] + 100
  if old then
    local _, _, was = parsed(old)
    if was ~= '-' then
      digest = mixed(digest, was)
      routes = routes - 1
    end
  end
  local version = ARGV[i + 3] ~= '' and (ARGV[i + 3] .. ' ' .. ARGV[i + 4]) or (number(seq) .. ' ' .. uid)
  redis.call('HSET', versions, name, version .. ' ' .. its)
  if its == '-' then
    redis.call('HDEL', state, name)
    redis.call('ZADD', dropped, string.match(version, '^%d+'), name)
  else
    digest = mixed(digest, its)
    routes = routes + 1
    redis.call('HSET', state, name, ARGV[i + 2])
    redis.call('ZREM', dropped, name)
  end
end

local horizon = tonumber(have[8])
local forgotten = redis.call('ZCARD', dropped) - tonumber(ARGV[7])
if forgotten > 0 then
  local gone = redis.call('ZPOPMIN', dropped, forgotten)
  for i = 1, #gone, 2 do
    redis.call('HDEL', versions, gone[i])
    horizon = math.max(horizon, tonumber(gone[i + 1]))
  end
end

redis.call('RPUSH', sizes, bytes)
bytes = bytes + tonumber(have[7])
local length = redis.call('LLEN', sizes)
while length > 1 and (length > tonumber(ARGV[5]) or bytes > tonumber(ARGV[6])) do
  bytes = bytes - tonumber(redis.call('LPOP', sizes))
  length = length - 1
end
redis.call('XTRIM', stream, 'MAXLEN', '=', length)
if writer ~= '' then
  if redis.call('HLEN', origins) > 10000 then redis.call('DEL', origins) end
  redis.call('HSET', origins, writer, ARGV[3])
end
redis.call('HSET', meta, 'seq', number(seq), 'head', uid, 'entries', number(tonumber(have[4]) + 1), 'routes', routes,
  'digest', digest, 'bytes', number(bytes), 'horizon', number(horizon))
return {'ok'}
"""
)
