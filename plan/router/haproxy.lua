-- Takes out a server that answers 5xx while its /health is good: 3 in a row in one backend. HAProxy's own `observe layer7`
-- does not count an answer that is asked for again. The server's health checks bring it back.

local LIMIT, FORGOTTEN_AFTER_S = 3, 60
local failures = {} -- by "backend/server": how many in a row, and when the last one was

local function forget(txn, key)
    failures[key] = nil
    local now = core.now().sec
    for other, failed in pairs(failures) do
        if now - failed.at > FORGOTTEN_AFTER_S then
            failures[other] = nil
        end
    end
    txn:set_var("proc.has_failures", next(failures) ~= nil)
end

-- An attempt failed: the one that `txn.tried` names.
core.register_action("failed", { "tcp-res", "http-res" }, function(txn)
    local backend, name = txn.f:be_name(), txn:get_var("txn.tried")
    local key = backend .. "/" .. name
    local failed = failures[key] or { count = 0 }
    failed.count, failed.at = failed.count + 1, core.now().sec
    if failed.count < LIMIT then
        failures[key] = failed
        txn:set_var("proc.has_failures", true)
    else
        forget(txn, key)
        core.backends[backend].servers[name]:check_force_down()
    end
end)

-- Called while any server has failures.
core.register_action("answered", { "http-res" }, function(txn)
    forget(txn, txn.f:be_name() .. "/" .. txn.f:srv_name())
end)
