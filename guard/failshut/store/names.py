"""Names in the store: the one place that says which key a gate's record is under.

Several installations may share a store, by database number or not, and a channel knows no database number at
all. So every name carries the installation: what one writes, pops or pushes is never another's. The braces are
a hash tag: on a cluster all keys of one gate are in one slot. So one script or one MULTI may use them together.
A gate's name and an installation's id become parts of a key, of a token's id and of a message's first line. So
they are checked here.
"""

from __future__ import annotations

import re
import secrets
from typing import Final

#: About how many entries a gate's stream of outcomes keeps; the oldest are lost when nobody reads it.
OUTCOMES_MAXLEN: Final = 10_000

#: What a gate may be called: policies, commands, permits and guards hold to this one pattern.
GATE_PATTERN: Final = r"^[A-Za-z0-9][A-Za-z0-9._-]{0,127}$"
_GATE = re.compile(GATE_PATTERN)
_INSTALLATION = re.compile(r"[A-Za-z0-9]{16,64}")
#: How the id of an installation begins that only a service's own tests know (failshut.testing): it has names in no store.
TESTING: Final = "failshuttesting"


def check_gate(name: str) -> str:
    """Return `name` if it may name a gate: letters, digits, `.`, `_`, `-`, at most 128 characters. Raises ValueError.

    The first character is a letter or a digit. No policy can open a gate with another name.
    """
    if not isinstance(name, str) or not _GATE.fullmatch(name):
        shown = f"{name[:200]!r}" if isinstance(name, str) else f"{type(name).__name__}"
        raise ValueError(
            f"not a gate's name: {shown} (1 to 128 letters, digits, '.', '_' or '-'; the first is a letter or a digit): "
            "no policy can open a gate with this name"
        )
    return name


def check_installation(name: str) -> str:
    """Return `name` if it may be an installation's id: 16 to 64 letters and digits. Raises ValueError."""
    if not isinstance(name, str) or not _INSTALLATION.fullmatch(name):
        raise ValueError(f"not an installation's id: {name!r} (16 to 64 letters and digits)")
    return name


def new_installation() -> str:
    """Return an id that no other installation has: 128 bits from the system's source of randomness."""
    return secrets.token_hex(16)


def new_testing_installation() -> str:
    """Return an id for tests without a store: no guard that talks to a store takes anything from an installation so named."""
    return TESTING + new_installation()


class Names:
    """The names of one installation in its store. Raises ValueError for what is no installation's id, or a test's."""

    __slots__ = ("gates", "installation", "push", "seals", "workers")

    def __init__(self, installation: str) -> None:
        self.installation = check_installation(installation)
        if installation.startswith(TESTING):
            raise ValueError(f"{installation} is an installation of failshut.testing: it has no name in any store")
        self.gates = f"failshut:{installation}:gates"
        """Set of gate names; for screens, never for deciding."""
        self.push = f"failshut:{installation}:push"
        """The one channel on which closings are pushed; a message is `GATE\\n` and the closing's token."""
        self.workers = f"failshut:{installation}:workers:*"
        """Pattern of the lines that workers write of themselves; for screens."""
        self.seals = f"failshut:{installation}:{{seals}}:*"
        """Pattern of everything about seals: for access rights."""

    def record(self, gate: str) -> str:
        """Return the key of a gate's current signed token: a permit, which expires, or a closing, which does not."""
        return f"failshut:{self.installation}:{{{gate}}}:record"

    def fence(self, gate: str) -> str:
        """Return the key of the hash of the last write's epoch, offset (16 digits each) and kind; never expires."""
        return f"failshut:{self.installation}:{{{gate}}}:fence"

    def probes(self, gate: str) -> str:
        """Return the key of the list of probe tokens of the current PROVING."""
        return f"failshut:{self.installation}:{{{gate}}}:probes"

    def probed(self, gate: str) -> str:
        """Return the key of the epoch for which probe tokens were written, so that they are written once."""
        return f"failshut:{self.installation}:{{{gate}}}:probed"

    def status(self, gate: str) -> str:
        """Return the key of the JSON for screens: the last decision and the monitor's hints; never used for deciding."""
        return f"failshut:{self.installation}:{{{gate}}}:status"

    def outcomes(self, gate: str) -> str:
        """Return the key of the capped stream of the gate's outcomes, from guards to the monitor. It is of this gate alone."""
        return f"failshut:{self.installation}:{{{gate}}}:outcomes"

    def seal(self, partition: int) -> str:
        """Return the name of the newest seal of an evidence partition; expires with the last permit that it renews."""
        return f"failshut:{self.installation}:{{seals}}:{partition}"

    def sealed(self, partition: int) -> str:
        """Return the name of that seal's position, 16 digits; never expires."""
        return f"failshut:{self.installation}:{{seals}}:{partition}:position"

    @property
    def term(self) -> str:
        """The newest term of which a seal was written; never expires. Not signed: it only ever denies."""
        return f"failshut:{self.installation}:{{seals}}:term"

    def worker(self, worker_id: str) -> str:
        """Return the key of what a worker says of itself; it expires soon after it says nothing more."""
        return f"failshut:{self.installation}:workers:{worker_id}"

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Names) and other.installation == self.installation

    def __hash__(self) -> int:
        return hash(self.installation)

    def __repr__(self) -> str:
        return f"Names({self.installation!r})"


def push_message(gate: str, token: str) -> bytes:
    """Return a closing as it is pushed."""
    return f"{gate}\n{token}".encode()
