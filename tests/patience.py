"""How patient tests are with the machine that runs them: one setting, for whoever runs them on a slow or busy one.

`FAILSHUT_TEST_PATIENCE=3 make test` triples every bound that is reckoned here. A bound is a promise of the code (a deadline, a
ttl) times a factor for the machine; no test asserts how fast something is beyond such a promise.
"""

from __future__ import annotations

import os

PATIENCE = float(os.environ.get("FAILSHUT_TEST_PATIENCE", "1"))
#: A thread that is due may be kept waiting so many times over a deadline of 50 ms on a machine that is busy with other things.
MACHINE_FACTOR = 20.0
#: Two other suites beside this one on two cores make everything take about so many times as long.
BUSY_FACTOR = 3.0


def patient(seconds: float) -> float:
    """How long to wait for an event that must come and takes no more than this on a machine that does nothing else."""
    return seconds * BUSY_FACTOR * PATIENCE


def within(promised_seconds: float) -> float:
    """The longest that something may take here that promises to take no longer than this."""
    return promised_seconds * MACHINE_FACTOR * PATIENCE
