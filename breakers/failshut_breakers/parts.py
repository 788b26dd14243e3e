"""A governor's state in parts: its frame, its policies, and each gate by itself.

Most of a governor changes rarely: a gate that nothing happens to, the policies, what routers told. So whoever keeps a copy of
it keeps the parts and takes anew what has changed. `Governor.changed` names the gates, `Governor.shape` grows with the
policies. All parts of a copy must be of one offset, but a part that has not changed since is of that offset too.
"""

from __future__ import annotations

import copy
from collections.abc import Iterable
from typing import NamedTuple

from failshut_breakers.agreement import Agreement
from failshut_breakers.evidence.records import Activation
from failshut_breakers.gate.state import Gate
from failshut_breakers.governor import Governor
from failshut_breakers.policy.policy import PolicyBook
from failshut_breakers.waking import Sleeper


class KeptGate(NamedTuple):
    """A gate, and how it sleeps."""

    gate: Gate
    sleeper: Sleeper | None


class Policies(NamedTuple):
    """What the policies are, what brought them, and the routers' readings of them."""

    book: PolicyBook
    agreement: Agreement
    activation: Activation | None


def frame_of(governor: Governor) -> Governor:
    """Return a governor without its gates and policies. It shares everything else with the original."""
    frame = copy.copy(governor)
    frame.gates, frame.changed, frame.seal = {}, set(), None
    frame.book, frame.agreement, frame.activation = PolicyBook(), Agreement(), None
    frame.waking, frame.sealing = governor.waking.without_gates(), governor.sealing.without_gates()
    return frame


def kept_gate(governor: Governor, name: str) -> KeptGate:
    """Return one gate of a governor."""
    return KeptGate(governor.gates[name], governor.waking.sleeper(name))


def joined(frame: Governor, policies: Policies, gates: Iterable[KeptGate]) -> Governor:
    """Return the frame with its policies and gates: the governor of which they are the parts."""
    frame.book, frame.agreement, frame.activation = policies
    for gate, sleeper in gates:
        frame.gates[gate.name] = gate
        frame.waking.put(gate.name, sleeper)
    frame.sealing.put(frame.gates.values())
    return frame
