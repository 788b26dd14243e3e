"""Names in the store: the one place that says under which key a gate's record lies.

The braces are a hash tag: on a cluster all keys of one gate lie in one slot, so one script or one MULTI may
touch them together. A gate's name is checked here because it becomes part of a key, of a token's id and of
a message's first line.
"""

from __future__ import annotations

import re
from typing import Final

#: Set of gate names; for screens, never for deciding.
GATES: Final = "failshut:gates"
#: Capped stream of outcomes, from guards to the monitor.
OUTCOMES: Final = "failshut:outcomes"
#: About how many entries the stream of outcomes keeps; the oldest are lost when nobody reads it.
OUTCOMES_MAXLEN: Final = 100_000
#: The one channel on which closings are pushed; a message is `GATE\n` and the closing's token.
PUSH: Final = "failshut:push"

_GATE = re.compile(r"[A-Za-z0-9_][A-Za-z0-9_.\-/]{0,199}")


def check_gate(name: str) -> str:
    """Return `name` if it may name a gate: letters, digits, `_ . - /`, at most 200. Raises ValueError."""
    if not isinstance(name, str) or not _GATE.fullmatch(name):
        raise ValueError(f"not a gate's name: {name!r} (letters, digits, '_', '.', '-', '/'; at most 200)")
    return name


def record(gate: str) -> str:
    """The current signed token of a gate: a permit, which expires, or a closing, which does not."""
    return f"failshut:{{{gate}}}:record"


def fence(gate: str) -> str:
    """Hash of the last write's epoch, offset (16 digits each) and kind; never expires."""
    return f"failshut:{{{gate}}}:fence"


def probes(gate: str) -> str:
    """List of the probe tokens of the current PROVING."""
    return f"failshut:{{{gate}}}:probes"


def probed(gate: str) -> str:
    """The epoch for which probe tokens were written, so that they are written once."""
    return f"failshut:{{{gate}}}:probed"


def status(gate: str) -> str:
    """JSON for screens: the last decision and the monitor's hints; never used for deciding."""
    return f"failshut:{{{gate}}}:status"


def push_message(gate: str, token: str) -> bytes:
    """A closing as it is pushed."""
    return f"{gate}\n{token}".encode()


def probe_token(epoch: str, number: int) -> str:
    """The `number`-th probe token of the PROVING that began at `epoch`."""
    return f"{epoch}:{number}"
