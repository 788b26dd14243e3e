"""Services that execute at a steady rate. `python bytes_guard.py STORE JWKS GATES(JSON) EXECUTIONS_A_SECOND FAIL_EVERY`.

Waits for a line on its standard input, then executes at one gate after the other; every so many-th execution fails. Prints how
many were admitted, once a second.
"""

from __future__ import annotations

import json
import sys
import time

from failshut import Gate, Withheld, configure

SUBJECT = "agent:bench"


def main() -> None:
    configure(store_url=sys.argv[1], jwks=sys.argv[2])
    gates = [Gate(name) for name in json.loads(sys.argv[3])]
    every_s, fail_every = 1 / float(sys.argv[4]), int(sys.argv[5])
    print("READY", flush=True)
    sys.stdin.readline()
    admitted = tried = 0
    begun = told = time.monotonic()
    while True:
        tried += 1
        try:
            with gates[tried % len(gates)].execution(SUBJECT):
                admitted += 1
                if tried % fail_every == 0:
                    raise RuntimeError("an action that fails")
        except (Withheld, RuntimeError):
            pass
        now = time.monotonic()
        if now - told > 1:
            told = now
            print(json.dumps({"admitted": admitted}), flush=True)
        time.sleep(max(0.0, begun + tried * every_s - now))


main()
