"""How many random cases a test tries: all of them, or a share of them where somebody waits for the answer.

A test over drawn cases states a claim about every case, and shows it for some. `make test` tries as many as the test says.
`make check`, which is run after each change, sets FAILSHUT_TEST_SHARE and tries fewer; the claim is the same. Only counts of
cases that do not depend on each other go through here, never a count that a figure is estimated from.
"""

from __future__ import annotations

import os

SHARE = float(os.environ.get("FAILSHUT_TEST_SHARE", "1"))


def draws(count: int) -> int:
    """How many of so many cases are tried, at least one."""
    return max(1, round(count * SHARE))
