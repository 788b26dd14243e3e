"""A service that holds many gates. `python holding_guard.py STORE JWKS GATES SECONDS`, gates being gates.0 and so on.

First it asks for every gate once, as a service does that has just started. Then it asks for each twice a second, for so many
seconds. It prints one line of JSON.
"""

from __future__ import annotations

import json
import sys
import time
from typing import Any

import psutil

from failshut import Gate, Withheld, configure
from failshut.background.key_source import KeySource

SUBJECT = "agent:bench"
SETTLE_S = 3.0
verified = {"permits": 0, "seals": 0}


def counted(name: str, what: str) -> None:
    """Count the calls of a method that verifies a signature."""
    method = getattr(KeySource, name)

    def call(self: KeySource, *args: Any) -> Any:
        verified[what] += 1
        return method(self, *args)

    setattr(KeySource, name, call)


def ask(gate: Gate) -> bool:
    try:
        gate.check(SUBJECT)
    except Withheld:
        return False
    return True


def main() -> None:
    store, jwks, count, seconds = sys.argv[1], sys.argv[2], int(sys.argv[3]), float(sys.argv[4])
    counted("verified", "permits")
    counted("verified_seal", "seals")
    guard = configure(store_url=store, jwks=jwks)
    deadline_s = guard.configuration.deadline_ms / 1000
    gates = [Gate(f"gates.{n}") for n in range(count)]
    firsts, took = [], []
    began = time.perf_counter()
    for gate in gates:
        asked = time.perf_counter()
        firsts.append(ask(gate))
        took.append(time.perf_counter() - asked)
    whole_s = time.perf_counter() - began
    time.sleep(SETTLE_S)
    process = psutil.Process()
    before, cpu = dict(verified), process.cpu_times()
    began, refused, asked_of = time.monotonic(), 0, 0
    while time.monotonic() - began < seconds:
        turn = time.monotonic()
        refused += sum(not ask(gate) for gate in gates)
        asked_of += count
        time.sleep(max(0.0, 0.5 - (time.monotonic() - turn)))
    length, after = time.monotonic() - began, process.cpu_times()
    said = {
        "first_admitted": sum(firsts),
        "first_worst_s": max(took),
        "first_late": sum(one > 2 * deadline_s for one in took),
        "first_all_s": whole_s,
        "refused": refused / asked_of,
        "verified_permits": (verified["permits"] - before["permits"]) / length,
        "verified_seals": (verified["seals"] - before["seals"]) / length,
        "cores": (after.user + after.system - cpu.user - cpu.system) / length,
        "rss_mb": process.memory_info().rss / 1e6,
    }
    print(json.dumps(said), flush=True)


main()
