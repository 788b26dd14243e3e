"""Probe tokens: what an execution at a proving gate must hold, and what an outcome must show to count as a probe's.

Everybody may read the epoch: it is in permits, decisions and the store. If a token could be computed from it, anybody could
report a success without an execution. So a token carries a MAC under a key that is derived from the monitor's signing key. Two
governors write the same tokens, and nobody else can. The worker that moves outcomes into evidence checks the MAC. It writes
only the epoch and the number to the topic. So a decision, its status and a replay hold no secret and need none.

Limits: during a rotation, workers with two signing keys run side by side. Probes that one of them issued do not count at the
other. PROVING then ends at its deadline and begins again.
"""

from __future__ import annotations

import base64
import hmac
import re

from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.kdf.hkdf import HKDF

from failshut.signing import SigningKey
from failshut_breakers.decisions.decision import Decision

MAC_BYTES = 16

_TOKEN = re.compile(r"([0-9]{16}):(0|[1-9][0-9]{0,8}):([A-Za-z0-9_-]{22})")


class ForgedProbe(ValueError):
    """A token that this monitor has not made for this gate."""


class ProbeKey:
    """Makes and checks the probe tokens of one installation."""

    def __init__(self, key: SigningKey) -> None:
        self._secret = HKDF(hashes.SHA256(), 32, salt=None, info=b"failshut probe").derive(key.to_pem())

    def token(self, installation: str, gate: str, epoch: str, number: int) -> str:
        """Return the `number`-th probe token of the PROVING that began at `epoch`: the same whoever makes it with this key."""
        said = f"{installation}\n{gate}\n{epoch}\n{number}".encode()
        mac = hmac.digest(self._secret, said, "sha256")[:MAC_BYTES]
        return f"{epoch}:{number}:{base64.urlsafe_b64encode(mac).rstrip(b'=').decode()}"

    def check(self, token: str, installation: str, gate: str) -> str:
        """Return what a token of this monitor names, `EPOCH:NUMBER`: what may stand in evidence.

        Raises:
            ForgedProbe: it is none, or another gate's or installation's.
        """
        found = _TOKEN.fullmatch(token)
        if found is None:
            raise ForgedProbe("not a probe token")
        epoch, number = found[1], int(found[2])
        if not hmac.compare_digest(token, self.token(installation, gate, epoch, number)):
            raise ForgedProbe(f"no probe token of gate {gate}")
        return f"{epoch}:{number}"


def probe_tokens(decision: Decision, key: SigningKey) -> tuple[str, ...]:
    """Return the probe tokens that a decision's permit brings; none, unless it begins a PROVING."""
    if not decision.tokens:
        return ()
    maker = ProbeKey(key)
    return tuple(
        maker.token(decision.installation, decision.gate, decision.probe_epoch, number) for number in range(decision.tokens)
    )
