"""The demonstration's screen: the gates as the services' guards see them, the trouble at hand and what became of the others."""

from __future__ import annotations

import threading
import time
from dataclasses import replace

from rich.table import Table
from rich.text import Text

from failshut import Cause
from failshut_console.demo.channel import Channel
from failshut_console.exits import Trouble
from failshut_console.monitor.gate_views import CLOSED, OPEN, Look, Looker, View
from failshut_console.terminal import gate_table
from failshut_console.terminal.live import Live

DRAWN_SECONDS = 0.125
RESULTS_SHOWN = 6
IN_WORDS = {
    Cause.LAPSED.value: "the permit ran out and was not renewed",
    Cause.PROBES_SPENT.value: "proving: waits for the outcomes of its probes",
}


class Show:
    """Draws in a thread of its own until it is stopped; plain lines where standard output is no terminal."""

    def __init__(self, channel: Channel, looker: Looker, gates: tuple[str, ...], servers: str, live: Live) -> None:
        self._channel = channel
        self._looker = looker
        self._gates = gates
        self._servers = servers
        self._live = live
        self._started = time.monotonic()
        self._lines: list[Text] = []
        self._now = self._kept = ""
        self._stopping = threading.Event()
        self._seen: dict[str, View] = {}
        self._thread = threading.Thread(target=self._draw_on, name="demo-screen", daemon=True)

    def start(self) -> None:
        """Begin to draw."""
        self._thread.start()

    def stop(self) -> None:
        """Draw once more and end."""
        self._stopping.set()
        if self._thread.is_alive():
            self._thread.join(3.0)

    def now(self, line: str) -> None:
        """Say what is going on now, in place of what was."""
        self._now = line
        if not self._live.enabled and line:
            print(line, flush=True)

    def keep(self, line: str) -> None:
        """Say what stays above everything else."""
        self._kept = line
        if not self._live.enabled:
            print(line, flush=True)

    def result(self, line: str, good: bool) -> None:
        """Say how a trouble ended; that stays on the screen."""
        self._lines = [*self._lines[-RESULTS_SHOWN:], Text(line, "green" if good else "bold red")]
        self._now = ""
        if not self._live.enabled:
            print(line, flush=True)

    def views(self) -> tuple[tuple[View, ...], Look | None]:
        """Return the gates now: open or closed as the guard in the service answered last."""
        try:
            look: Look | None = self._looker.look(self._gates)
        except Trouble:
            look = None
        found = {view.gate: view for view in look.gates} if look else {}
        return tuple(self._merged(gate, found.get(gate, View(gate, CLOSED))) for gate in self._gates), look

    def _merged(self, gate: str, view: View) -> View:
        admitted, withheld, last, because = self._channel.count(gate)
        view = replace(view, admitted=admitted, withheld=withheld)
        if last is None:
            return replace(view, because=view.because or "the service has not asked yet")
        if last.admitted:
            return replace(view, state=OPEN, cause="", because=view.because if view.state == OPEN else "the lease still runs")
        known = view.because if view.state == CLOSED and view.because else IN_WORDS.get(last.cause, because)
        if last.cause == Cause.LAPSED.value:  # the guard ends a lease before the store does, by the tolerance for clocks
            view = replace(view, life_ms=None, lapsed=True)
        return replace(view, state=CLOSED, cause=last.cause, because=known)

    def _draw_on(self) -> None:
        while True:
            last = self._stopping.is_set()
            self._draw()
            if last:
                return
            self._stopping.wait(DRAWN_SECONDS)

    def _draw(self) -> None:
        views, look = self.views()
        if not self._live.enabled:
            for view in gate_table.changes(self._seen, views):
                if view.gate not in self._seen or self._seen[view.gate].state != view.state:
                    print(f"{self._clock()}  {gate_table.plain(view, counts=True)}", flush=True)
            self._seen = {view.gate: view for view in views}
            return
        head = gate_table.header("failshut demo", [self._clock(), self._servers], look)
        kept = [Text(self._kept, overflow="fold")] if self._kept else []
        lines = [Text(""), *kept, *self._fitting(), *([Text(self._now, "yellow")] if self._now else [])]
        self._live.draw(lambda width: gate_table.picture(head, views, lines, width, counts=True))

    def _fitting(self) -> list[Text]:
        """Return the newest results that a low terminal has room for: what happens now must not be cut off below."""
        # Header, titles, an empty line, two for what is now, the cursor's, and what is kept.
        room = self._live.console.height - len(self._gates) - 6 - -(-len(self._kept) // max(1, self._live.console.width))
        kept: list[Text] = []
        for line in reversed(self._lines):
            room -= -(-len(line.plain) // max(1, self._live.console.width))
            if room < 0:
                break
            kept.insert(0, line)
        return kept

    def _clock(self) -> str:
        seconds = int(time.monotonic() - self._started)
        return f"{seconds // 60:02d}:{seconds % 60:02d}"


def result_table(rows: list[tuple[str, ...]]) -> Table:
    """Return expected beside observed closings, in 80 columns."""
    table = Table(box=None, pad_edge=False, padding=(0, 1, 0, 0))
    for name in ("trouble", "gate", "expected", "observed"):
        table.add_column(name, no_wrap=True)
    for name in ("closed", "bound", "slips", "back"):
        table.add_column(name, justify="right", no_wrap=True)
    table.add_column("", no_wrap=True)
    for row in rows:
        table.add_row(*row)
    return table
