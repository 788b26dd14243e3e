"""What holds evidence time back: runs that do not join, and routers that read a policy otherwise.

Nothing here decides. A worker asks, so that what is missing is told again, and so that people see why gates lapse.
"""

from __future__ import annotations

from failshut_breakers.evidence.coverage import Key
from failshut_breakers.governor import Governor


def owed(governor: Governor) -> dict[Key, int]:
    """Return from where on front-door partitions should be told again, because runs beyond it do not join.

    What lies between did not count for some gate, or its batch was lost. Where no run goes on beyond it, telling it again
    would change nothing: the router that told it is the one that would tell it.
    """
    gapped = [coverage for coverage in governor.lanes if coverage.gaps]
    used = {gate.lane for gate in governor.gates.values()} if gapped else set()
    found: dict[Key, int] = {}
    for coverage in gapped:
        if coverage.lane in used:
            for key in coverage.gaps:
                position = coverage.covered.get(key, 0)
                found[key] = min(position, found.get(key, position))
    return found


def disputes(governor: Governor) -> list[tuple[str, str]]:
    """Return each gate whose evidence time is held back by a router's other reading, with words for it."""
    found: list[tuple[str, str]] = []
    if not any(coverage.refused for coverage in governor.lanes):
        return found
    for name, gate in sorted(governor.gates.items()):
        if gate.entry.policy is None:
            continue
        held = governor.coverage_of(gate).held_back_by()
        if held is not None:
            found.append((name, governor.agreement.why(held[0].router, held[0].made, name)))
    return found
