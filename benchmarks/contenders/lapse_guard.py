"""A service of its own that tries to execute all the time. `python lapse_guard.py STORE JWKS TOLERANCE_MS GATES(JSON)`.

Prints a line of JSON whenever a gate changes from admitting to withholding or back, with the moment of the attempt and of the
last attempt before it, by the monotonic clock, which processes of one machine share; and once a second how many were admitted.
"""

from __future__ import annotations

import json
import sys
import time

from failshut import Gate, Withheld, configure

SUBJECT = "agent:bench"
EVERY_S = 0.004


def main() -> None:
    configure(store_url=sys.argv[1], jwks=sys.argv[2], clock_tolerance_ms=int(sys.argv[3]), deadline_ms=10)
    gates = {name: Gate(name) for name in json.loads(sys.argv[4])}
    before: dict[str, tuple[bool, int]] = dict.fromkeys(gates, (False, 0))
    admitted, told = 0, time.monotonic()
    while True:
        for name, gate in gates.items():
            cause = ""
            try:
                with gate.execution(SUBJECT):
                    now = time.monotonic_ns()
            except Withheld as denial:
                now, cause = time.monotonic_ns(), str(denial.cause)
            admits = not cause
            admitted += admits
            if admits != before[name][0]:
                change = {"gate": name, "admits": admits, "ns": now, "before_ns": before[name][1], "cause": cause}
                print(json.dumps(change), flush=True)
            before[name] = admits, now
        if time.monotonic() - told > 1:
            told = time.monotonic()
            print(json.dumps({"admitted": admitted}), flush=True)
        time.sleep(EVERY_S)


main()
