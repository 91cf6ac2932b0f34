-- One lock: all that is done to it, each call in one step of the server.
--
-- KEYS
--   1  zset of the holders, by token
--   2  zset of the waiters, by ticket
--   3  zset of all of them, by the moment until which the server believes in them (ms)
--   4  hash of their records
--   5  hash: token (the last one), ticket (the next one), slots (how many may hold the lock)
--   6  hash: server (which process of Redis the locks are from), since (from when on)
--   7  hash: token, work, last (what holders have told about their runs), entry, work_before,
--      last_before (the last call that has told something, and what was remembered before it)
-- ARGV
--   1  what to do
--   2  the member: `x` for exclusive or `s` for shared, and random digits
--   3  the beginning of the channels on which members are woken; the member follows
--   4  further arguments

local HOLDERS, QUEUE, UNTIL, RECORDS = KEYS[1], KEYS[2], KEYS[3], KEYS[4]
local LOCK, SERVER, RUN = KEYS[5], KEYS[6], KEYS[7]
local what, id, channel = ARGV[1], ARGV[2], ARGV[3]
local call = redis.call

local clock = call('TIME')
local now = clock[1] * 1000 + math.floor(clock[2] / 1000)

-- A number in a hash. Nil if there is none, or if somebody else has written something there.
local function number(key, field)
    local text = call('HGET', key, field)
    return text and #text <= 16 and text:match('^%-?%d+$') and tonumber(text) or nil
end

-- The error for the first field of a hash that is no number, if there is one.
local function no_number(key, fields)
    for _, field in ipairs(fields) do
        if call('HEXISTS', key, field) == 1 and not number(key, field) then
            return redis.error_reply('NONUMBER ' .. field .. ' ' .. key)
        end
    end
end

local function is_shared(member)
    return string.sub(member, 1, 1) == 's'
end

local DAY = 86400000
-- In a cluster each lock has a SERVER of its own.
local in_cluster = SERVER:sub(1, 1) == '{'

-- It outlives all that it is about: without it, a failover is not noticed.
local function keep_server()
    if in_cluster then
        call('PEXPIRE', SERVER, 30 * DAY)
    end
end

-- Keys of locks that nobody uses any more go after a day. The first write of a call has to be one
-- that needs no memory: a server whose memory is full accepts the others only after it, and a
-- holder can still renew its lock.
local function keep()
    for position = 1, 5 do
        call('PEXPIRE', KEYS[position], DAY)
    end
    keep_server()
end

local function forget(member)
    call('ZREM', HOLDERS, member)
    call('ZREM', QUEUE, member)
    call('ZREM', UNTIL, member)
    call('HDEL', RECORDS, member)
end

-- Members that the server believes in, but that neither hold nor wait: a holder was removed by
-- force. Its lease is waited for, so that it can notice.
local function ghosts()
    return call('ZCARD', UNTIL) - call('ZCARD', HOLDERS) - call('ZCARD', QUEUE)
end

-- Wakes the waiters that may enter.
local function wake()
    if ghosts() > 0 then
        return
    end
    local slots = number(LOCK, 'slots') or 1
    local holders = call('ZCARD', HOLDERS)
    local first = call('ZRANGE', QUEUE, 0, 0)[1]
    local enter = {}
    if not first then
        return
    elseif slots > 1 then
        if holders < slots then
            enter = call('ZRANGE', QUEUE, 0, slots - holders - 1)
        end
    elseif not is_shared(first) then
        if holders == 0 then
            enter = { first }
        end
    elseif holders == 0 or is_shared(call('ZRANGE', HOLDERS, 0, 0)[1]) then
        for _, member in ipairs(call('ZRANGE', QUEUE, 0, -1)) do
            if not is_shared(member) then
                break
            end
            enter[#enter + 1] = member
        end
    end
    for _, member in ipairs(enter) do
        call('PUBLISH', channel .. member, 'wake')
    end
end

-- Removes those that have said nothing for too long.
local function tidy()
    local gone = call('ZRANGEBYSCORE', UNTIL, '-inf', now)
    for _, member in ipairs(gone) do
        forget(member)
    end
    -- If somebody has removed a key, its members hold and wait for nothing.
    if ghosts() < 0 then
        for _, key in ipairs({ HOLDERS, QUEUE }) do
            for _, member in ipairs(call('ZRANGE', key, 0, -1)) do
                if not call('ZSCORE', UNTIL, member) then
                    forget(member)
                    gone[#gone + 1] = member
                end
            end
        end
    end
    if #gone > 0 then
        wake()
    end
end

-- Since when this server knows all locks. It may have forgotten some when it was started, and when
-- it became the primary: INFO then shows another process or another history. How long ago it
-- became the primary is not known, so the time counts from the first call.
local function remembers_since(replication)
    local server = call('INFO', 'server')
    local us = server:match('run_id:(%w+)') .. ':' .. replication:match('master_replid:(%w+)')
    local known = call('HGET', SERVER, 'server')
    local since = number(SERVER, 'since')
    if known == us and since then
        return since
    end
    since = now
    local was_replica = (replication:match('master_replid2:(%w+)') or ''):match('[^0]')
    -- A lock that is new, or that nobody has used for a month, has no SERVER in a cluster.
    if not known and (in_cluster or not was_replica) then
        since = now - server:match('uptime_in_seconds:(%d+)') * 1000
    end
    call('HSET', SERVER, 'server', us, 'since', since)
    keep_server()
    return since
end

-- Whether a member may hold the lock beside the holders and those before it in the queue.
local function may_enter(slots, ahead)
    local holders = call('ZCARD', HOLDERS)
    if ghosts() > 0 then
        return false
    elseif slots > 1 then
        return holders + ahead < slots
    elseif not is_shared(id) then
        return holders == 0 and ahead == 0
    end
    if holders > 0 and not is_shared(call('ZRANGE', HOLDERS, 0, 0)[1]) then
        return false
    end
    if ahead > 0 then
        for _, member in ipairs(call('ZRANGE', QUEUE, 0, ahead - 1)) do
            if not is_shared(member) then
                return false
            end
        end
    end
    return true
end

-- Takes the lock if it is the member's turn, or else keeps a place in the queue. A call whose
-- answer was lost can be repeated.
local function step(ttl, place, slots, record)
    local replication = call('INFO', 'replication')
    if replication:match('role:(%w+)') ~= 'master' then
        return redis.error_reply('READONLY this is a replica')
    end
    local wrong = no_number(LOCK, { 'token', 'ticket', 'slots' }) or no_number(SERVER, { 'since' })
    if wrong then
        return wrong
    end
    local token = call('ZSCORE', HOLDERS, id)
    if token then
        keep()
        call('ZADD', UNTIL, now + ttl, id)
        return { 'held', tonumber(token) }
    end
    local others = call('ZCARD', UNTIL) - (call('ZSCORE', UNTIL, id) and 1 or 0)
    local theirs = number(LOCK, 'slots')
    if others > 0 and theirs and theirs ~= slots then
        return { 'differs', theirs }
    end
    local left = math.max(0, remembers_since(replication) + ttl - now)
    local ahead = call('ZRANK', QUEUE, id) or call('ZCARD', QUEUE)
    if left == 0 and may_enter(slots, ahead) then
        token = math.max(now, (number(LOCK, 'token') or 0) + 1)
        call('ZADD', HOLDERS, token, id)
        call('ZREM', QUEUE, id)
        call('ZADD', UNTIL, now + ttl, id)
        call('HSET', RECORDS, id, record)
        call('HSET', LOCK, 'token', token, 'slots', slots)
        keep()
        return { 'held', token }
    end
    if place == 0 then
        return { 'busy', left }
    end
    if not call('ZSCORE', QUEUE, id) then
        call('ZADD', QUEUE, call('HINCRBY', LOCK, 'ticket', 1), id)
        call('HSET', RECORDS, id, record)
        call('HSET', LOCK, 'slots', slots)
    end
    call('ZADD', UNTIL, now + place, id)
    keep()
    -- When the next one goes, if it says nothing.
    local next = call('ZRANGE', UNTIL, 0, 0, 'WITHSCORES')[2]
    return { 'wait', left, math.max(1, next - now) }
end

-- 1 if the member held the lock all the time.
local function renew(ttl, record)
    keep()
    if not call('ZSCORE', HOLDERS, id) or not call('ZSCORE', UNTIL, id) then
        return 0
    end
    call('ZADD', UNTIL, now + ttl, id)
    call('HSET', RECORDS, id, record)
    return 1
end

-- 1 if the member held the lock.
local function leave()
    local held = call('ZSCORE', HOLDERS, id) and 1 or 0
    forget(id)
    wake()
    return held
end

-- State, id, token or ticket, ms left, record.
local function row(state, member, number)
    return {
        state,
        member,
        tonumber(number),
        (call('ZSCORE', UNTIL, member) or now) - now,
        call('HGET', RECORDS, member) or '',
    }
end

-- All members that the server believes in.
local function members()
    local rows = {}
    for state, key in pairs({ holds = HOLDERS, waits = QUEUE }) do
        local found = call('ZRANGE', key, 0, -1, 'WITHSCORES')
        for position = 1, #found, 2 do
            local this = row(state, found[position], found[position + 1])
            if this[4] > 0 then
                rows[#rows + 1] = this
            end
        end
    end
    return rows
end

-- Ends the holder with this token, and tells it. Its lease is waited for.
local function break_holder(token)
    local member = call('ZRANGEBYSCORE', HOLDERS, token, token)[1]
    if not member then
        return {}
    end
    local broken = row('holds', member, token)
    call('ZREM', HOLDERS, member)
    call('HDEL', RECORDS, member)
    call('PUBLISH', channel .. member, 'broken')
    return { broken }
end

-- How many ms ago the last run began that counts, or -1, and the record of a holder at work. A clock
-- that was set back far makes no run recent: the clocks of two primaries may be a minute apart.
local function history(last, work)
    local began = number(RUN, last)
    local counts = began and began <= now + 60000
    return { counts and math.max(0, now - began) or -1, call('HGET', RUN, work) or '' }
end

-- Remembers a run, and returns what was remembered before. `ago` is -1 for one that does not count.
-- A call whose answer was lost can be repeated: `entry` is the same then.
local function record_run(token, work, ago, keep_for, entry)
    if call('HGET', RUN, 'entry') == entry then
        return history('last_before', 'work_before')
    end
    if (number(RUN, 'token') or 0) > token then
        return {}
    end
    for _, field in ipairs({ 'last', 'work' }) do
        call('HSET', RUN, field .. '_before', call('HGET', RUN, field) or '')
    end
    call('HSET', RUN, 'token', token, 'work', work, 'entry', entry)
    if ago >= 0 then
        call('HSET', RUN, 'last', now - ago)
    end
    -- A holder that has died is remembered for a month.
    call('PEXPIRE', RUN, math.max(2592000000, keep_for, call('PTTL', RUN)))
    return history('last_before', 'work_before')
end

if what == 'members' then
    -- An error if one of them is of another type, as for a step.
    call('HLEN', LOCK)
    call('HLEN', SERVER)
    return members()
elseif what == 'last' then
    return no_number(RUN, { 'token', 'last' }) or history('last', 'work')
end
tidy()
if what == 'step' then
    return step(tonumber(ARGV[4]), tonumber(ARGV[5]), tonumber(ARGV[6]), ARGV[7])
elseif what == 'renew' then
    return renew(tonumber(ARGV[4]), ARGV[5])
elseif what == 'leave' then
    return leave()
elseif what == 'break' then
    return break_holder(ARGV[4])
elseif what == 'record' then
    return no_number(RUN, { 'token', 'last' })
        or record_run(tonumber(ARGV[4]), ARGV[5], tonumber(ARGV[6]), tonumber(ARGV[7]), ARGV[8])
end
return redis.error_reply('ERR unknown call')
