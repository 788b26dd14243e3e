-- Forward auth for HAProxy: core.httpclient alone, no other package. Whatever is no 200 with an epoch sets nothing, and
-- haproxy.cfg denies what has no epoch.
core.register_action("failshut_ask", { "http-req" }, function(txn)
    local client = core.httpclient()
    local ok, reply = pcall(function()
        return client:get({ url = "http://127.0.0.1:8182/", timeout = 1000 })
    end)
    txn:set_var("txn.failshut_epoch", "")
    if ok and reply and reply.status == 200 and reply.headers then
        local epoch = reply.headers["x-failshut-epoch"]
        if epoch and epoch[0] and not epoch[1] then
            txn:set_var("txn.failshut_epoch", epoch[0])
        end
    end
end, 0)
