"""What a monitor says of one gate, for tests: epochs, permits, closings and probe tokens, without evidence behind them.

Whoever plays a monitor needs statements that a guard believes: the right claims, an epoch that grows with each decision, an
offset that grows with each statement. They are made here once, and signed and carried elsewhere: into memory for a service's
own tests, into a real store for the guard's. There is no key here, so nothing here opens a gate.
"""

from __future__ import annotations

from typing import Any, Final

from failshut.cause import Cause
from failshut.epoch import epoch_of
from failshut.permit import Closing, Permit

#: The policy that permits and closings name unless told otherwise.
POLICY: Final = "sha256:" + "0" * 64
TTL_MS: Final = 3000


class Statements:
    """The statements of one installation about one gate.

    Attributes:
        installation, gate: what they are about.
        term, offset: where the newest statement stands; each takes the next offset.
        epoch: that of the newest decision.
        ttl_ms: of permits, unless one is told otherwise.
    """

    def __init__(self, installation: str, gate: str) -> None:
        self.installation = installation
        self.gate = gate
        self.term = 1
        self.offset = 100
        self.epoch = epoch_of(self.term, self.offset)
        self.ttl_ms = TTL_MS

    def decide(self) -> None:
        """Begin a new decision: a later epoch, under which the next statements are made."""
        self.offset += 1
        self.epoch = epoch_of(self.term, self.offset)

    def permit_at(self, evidence_ms: int, **changes: Any) -> Permit:
        """Return a permit of this evidence time, under the current epoch. `changes` are fields of `Permit`."""
        self.offset += 1
        ttl_ms = changes.pop("ttl_ms", self.ttl_ms)
        fields: dict[str, Any] = {
            **self._common(),
            "mode": "armed",
            "evidence_ms": evidence_ms,
            "nbf_ms": evidence_ms,
            "exp_ms": evidence_ms + ttl_ms,
            "ttl_ms": ttl_ms,
            "subjects": ("*",),
        }
        return Permit(**(fields | changes))

    def closing_at(self, evidence_ms: int, cause: Cause, because: str, **changes: Any) -> Closing:
        """Return a new decision that closes the gate. `changes` are fields of `Closing`."""
        self.decide()
        fields: dict[str, Any] = {
            **self._common(),
            "cause": cause,
            "because": because,
            "evidence_ms": evidence_ms,
            "breaker": "TRIPPED",
        }
        return Closing(**(fields | changes))

    def probe_token(self, number: int, epoch: str = "") -> str:
        """Return a probe token as a guard sees one: it knows the epoch before the first colon, and nothing of the rest."""
        return f"{epoch or self.epoch}:{number}:not-to-be-guessed"

    def _common(self) -> dict[str, Any]:
        return {
            "installation": self.installation,
            "gate": self.gate,
            "epoch": self.epoch,
            "offset": self.offset,
            "partition": 0,
            "policy": POLICY,
        }
