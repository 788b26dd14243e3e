"""A service of its own: one running execution behind each gate. `python trip_guard.py STORE JWKS GATES(JSON)`.

Prints a line of JSON when a gate admits and when a denial is seen: the execution was cancelled, and a check of the gate
withholds. Times are of the monotonic clock, which processes of one machine share.
"""

from __future__ import annotations

import asyncio
import json
import sys
import time

from failshut import Gate, Withheld, configure

SUBJECT = "agent:bench"


async def watch(name: str) -> None:
    gate = Gate(name)
    while True:
        try:
            async with gate.execution(SUBJECT):
                print(json.dumps({"gate": name, "admitted": True}), flush=True)
                await asyncio.sleep(3600)
        except Withheld:
            pass
        try:
            gate.check(SUBJECT)
        except Withheld as denial:
            seen = time.monotonic_ns()
            print(json.dumps({"gate": name, "ns": seen, "cause": str(denial.cause)}), flush=True)
        while gate_withholds(gate):
            await asyncio.sleep(0.05)


def gate_withholds(gate: Gate) -> bool:
    try:
        gate.check(SUBJECT)
    except Withheld:
        return True
    return False


async def main() -> None:
    configure(store_url=sys.argv[1], jwks=sys.argv[2])
    await asyncio.gather(*(watch(name) for name in json.loads(sys.argv[3])))


asyncio.run(main())
