"""What runs inside of Valkey, each in one step, and the names of its keys.

A session's two keys have one hash tag, a tenant's list has another, so that each script touches one slot of a cluster.
A session is a hash of short fields: v form, i incarnation, n revision, m model, c creation, b bytes of text, w last
write (seconds since 1970), s snapshot if there is one, and of the checkpoint h revision, t text, p cursor, k known
edits, q known records; beside it is the list of its records. Numbers are compared as strings: an incarnation has 63
bits, and Lua counts to 53.
"""

from __future__ import annotations

from hashlib import sha1
from typing import NamedTuple
from urllib.parse import quote

from service.sessions.commands import Tenant
from service.sessions.records import SessionKey

FORM = 1
"""Of the fields; a newer one is refused by an older program."""

FENCED = 0

TENANTS = "carousel:tenants"
"""The set of those who have sessions."""


class Script(NamedTuple):
    """A script and the name that it is called by."""

    text: str
    digest: str


def session_keys(key: SessionKey) -> tuple[str, str]:
    """The hash and the list of a session."""
    tag = f"carousel:{{{quote(key.tenant, safe='')}/{quote(key.id, safe='')}}}"
    return f"{tag}:session", f"{tag}:records"


def tenant_keys(tenant: Tenant) -> tuple[str, str, str, str]:
    """By id, by the time of the last write, "incarnation bytes" by id, and the sum of those bytes."""
    tag = f"carousel:{{{quote(tenant, safe='')}}}"
    return f"{tag}:ids", f"{tag}:written", f"{tag}:sizes", f"{tag}:bytes"


def _script(text: str) -> Script:
    return Script(text, sha1(text.encode(), usedforsecurity=False).hexdigest())


# KEYS: session, records. ARGV: ttl in ms or 0, how many fields and values, these, records. 1, or 0 if it is taken.
CREATE = _script("""
if redis.call('EXISTS', KEYS[1]) == 1 then return 0 end
local fields = tonumber(ARGV[2])
redis.call('HSET', KEYS[1], unpack(ARGV, 3, 2 + fields))
for index = 3 + fields, #ARGV do redis.call('RPUSH', KEYS[2], ARGV[index]) end
if ARGV[1] ~= '0' then
    redis.call('PEXPIRE', KEYS[1], ARGV[1])
    redis.call('PEXPIRE', KEYS[2], ARGV[1])
end
return 1
""")

# KEYS: session, records. ARGV: ttl in ms or 0, incarnation, revision before, revision after, bytes added, seconds now,
# how many records, these; if there is a checkpoint: how many records to keep, and its fields and values.
# The bytes of text after it as a string, or 0 if the fence is another.
APPEND = _script("""
local head = redis.call('HMGET', KEYS[1], 'i', 'n')
if head[1] ~= ARGV[2] or head[2] ~= ARGV[3] then return 0 end
local last = 7 + tonumber(ARGV[7])
redis.call('HSET', KEYS[1], 'n', ARGV[4], 'w', ARGV[6])
redis.call('RPUSH', KEYS[2], unpack(ARGV, 8, last))
if #ARGV > last then
    redis.call('HSET', KEYS[1], unpack(ARGV, last + 2))
    if ARGV[last + 1] == '0' then
        redis.call('DEL', KEYS[2])
    else
        redis.call('LTRIM', KEYS[2], '-' .. ARGV[last + 1], -1)
    end
end
if ARGV[1] ~= '0' then
    redis.call('PEXPIRE', KEYS[1], ARGV[1])
    redis.call('PEXPIRE', KEYS[2], ARGV[1])
end
return tostring(redis.call('HINCRBY', KEYS[1], 'b', ARGV[5]))
""")

# KEYS: session, records. The fields in the order above and the records, or 0.
LOAD = _script("""
local fields = redis.call('HMGET', KEYS[1], 'v', 'i', 'm', 'c', 'h', 't', 'p', 'k', 'q')
if not fields[1] then return 0 end
return {fields, redis.call('LRANGE', KEYS[2], 0, -1)}
""")

# KEYS: session, records. ARGV: incarnation. 1 if it was there.
DELETE = _script("""
if redis.call('HGET', KEYS[1], 'i') ~= ARGV[1] then return 0 end
redis.call('DEL', KEYS[1], KEYS[2])
return 1
""")

# KEYS: session. ARGV: incarnation, snapshot. 1 if it was there.
PUT_SNAPSHOT = _script("""
if redis.call('HGET', KEYS[1], 'i') ~= ARGV[1] then return 0 end
redis.call('HSET', KEYS[1], 's', ARGV[2])
return 1
""")

# What is told of a session to its tenant's list: KEYS as `tenant_keys`. ARGV: id, incarnation, bytes, seconds now, most
# sessions or 0, most bytes or 0, 1 if it is new. {1, sessions, bytes};
# if it is new, {2, ...} and nothing changed if the id is listed, {0, ...} and nothing changed if that is too much.
TELL = _script("""
local count = redis.call('ZCARD', KEYS[1])
local sum = tonumber(redis.call('GET', KEYS[4]) or '0')
local before = redis.call('HGET', KEYS[3], ARGV[1])
local had = 0
if before then had = tonumber(string.match(before, ' (.*)')) else count = count + 1 end
sum = sum - had + tonumber(ARGV[3])
if ARGV[7] == '1' then
    if before then return {2, count, sum} end
    if ARGV[5] ~= '0' and count > tonumber(ARGV[5]) then return {0, count, sum} end
    if ARGV[6] ~= '0' and sum > tonumber(ARGV[6]) then return {0, count, sum} end
end
redis.call('ZADD', KEYS[1], 0, ARGV[1])
redis.call('ZADD', KEYS[2], ARGV[4], ARGV[1])
redis.call('HSET', KEYS[3], ARGV[1], ARGV[2] .. ' ' .. ARGV[3])
redis.call('SET', KEYS[4], string.format('%.0f', sum))
return {1, count, sum}
""")

# KEYS as `tenant_keys`. ARGV: id, incarnation or * for any. The number of sessions left.
FORGET = _script("""
local before = redis.call('HGET', KEYS[3], ARGV[1])
if before and (ARGV[2] == '*' or string.match(before, '(.*) ') == ARGV[2]) then
    redis.call('ZREM', KEYS[1], ARGV[1])
    redis.call('ZREM', KEYS[2], ARGV[1])
    redis.call('HDEL', KEYS[3], ARGV[1])
    redis.call('DECRBY', KEYS[4], string.match(before, ' (.*)'))
end
return redis.call('ZCARD', KEYS[1])
""")

SCRIPTS = (CREATE, APPEND, LOAD, DELETE, PUT_SNAPSHOT, TELL, FORGET)
