"""The far end of the pipe: a subscriber in a process of its own. `python pipe_end.py STORE CHANNEL`."""

from __future__ import annotations

import json
import sys
import time

import redis

subscription = redis.Redis.from_url(sys.argv[1]).pubsub(ignore_subscribe_messages=True)
subscription.subscribe(sys.argv[2])
print("READY", flush=True)
while True:
    message = subscription.get_message(timeout=5)
    if message is not None:
        seen = time.monotonic_ns()
        print(json.dumps({"number": int(json.loads(message["data"])["value"]), "ns": seen}), flush=True)
