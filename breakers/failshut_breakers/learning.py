"""Learning from history: which activations brought conditions that may, and how far each one's history was told.

It hands what routers tell to the twins of the gates concerned (gate/twins.py), and says which gates have all of it. A part of a
governor's state, and a function of the log like the rest of it.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping

from failshut_breakers.evidence.coverage import Coverage
from failshut_breakers.evidence.history import HISTORIES_MAX, History
from failshut_breakers.evidence.records import Run, Samples
from failshut_breakers.gate.state import Gate


class Learning:
    """The histories that are waited for, by activation."""

    def __init__(self) -> None:
        self.histories: dict[int, History] = {}

    def begin(self, version: int, activated_ms: int, coverage: Coverage, gates: Iterable[Gate]) -> None:
        """Let the conditions that an activation left without evidence learn. `coverage` is the new version's own."""
        learning = {gate.name for gate in gates if gate.begin_twins(version)}
        if learning:
            self.histories[version] = History.before(coverage, activated_ms)
            self.histories[version].gates = learning

    def take(self, run: Run, gates: Mapping[str, Gate]) -> tuple[set[str], list[str]]:
        """Take a run of history; return the gates that it taught, and those that have all of their history now."""
        history = self.histories.get(run.routing)
        counts = history.take(run) if history is not None else None
        if history is None or counts is None:
            return set(), []
        taught = history.gates & run.readings.keys() & gates.keys()
        for name in sorted(taught):
            gate = gates[name]
            for reading in run.readings[name]:
                if isinstance(reading, Samples):
                    gate.twins.learn(run.routing, reading, *counts, gate.spans.all())
        if not history.whole:
            return taught, []
        del self.histories[run.routing]
        return taught, sorted(history.gates & gates.keys())

    def give_up(self, newest_ms: int, gates: Mapping[str, Gate]) -> set[str]:
        """Forget histories that were waited for too long, and the oldest beyond the bound; return the gates concerned."""
        late = {version for version, history in self.histories.items() if newest_ms >= history.until_ms}
        concerned: set[str] = set()
        for version in sorted({*late, *sorted(self.histories)[:-HISTORIES_MAX]}):
            mine = self.histories.pop(version).gates & gates.keys()
            for name in mine:
                gates[name].twins.drop(version)
            concerned |= mine
        return concerned
