"""How gates look on a terminal: a table that fits 80 columns, and plain lines where there is no terminal.

The columns follow the questions of whoever is on call: which gate, may it execute, what does its breaker say, why, for
how long. Text that does not fit is cut with an ellipsis, never wrapped: a row that jumps cannot be read.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from rich.console import Console, Group, RenderableType
from rich.table import Table
from rich.text import Text

from failshut_console.monitor.gate_views import CLOSED, OPEN, STALE_MS, Look, View

STYLES = {OPEN: "bold green", CLOSED: "bold red"}
BREAKER_STYLES = {"TRIPPED": "red", "LOCKED": "magenta", "PROVING": "yellow"}


def table(views: Iterable[View], width: int, counts: bool = False) -> Table:
    """Return the gates as a table of `width` columns. `counts` adds admitted and withheld executions."""
    views = list(views)
    narrow = width < 100
    grid = Table(box=None, padding=(0, 2, 0, 0) if not narrow else (0, 1, 0, 0), width=width, pad_edge=False)
    name_width = max([len(view.gate) for view in views] + [4])
    grid.add_column("gate", no_wrap=True, overflow="ellipsis", max_width=min(name_width, 24 if narrow else 40))
    grid.add_column("state", no_wrap=True, min_width=6)
    grid.add_column("breaker", no_wrap=True, min_width=7)
    grid.add_column("because", no_wrap=True, overflow="ellipsis", ratio=1)
    grid.add_column("permit", no_wrap=True, justify="right", min_width=6)
    if counts:
        grid.add_column("admitted", no_wrap=True, justify="right", min_width=8)
        grid.add_column("withheld", no_wrap=True, justify="right", min_width=8)
    for view in views:
        cells = [
            Text(view.gate),
            Text(view.state, STYLES.get(view.state, "bold yellow")),
            Text(view.breaker, BREAKER_STYLES.get(view.breaker, "")),
            Text(_because(view)),
            Text(view.permit, "" if view.life_ms is not None else "dim"),
        ]
        grid.add_row(*cells, *([_count(view.admitted), _count(view.withheld)] if counts else []))
    return grid


def header(title: str, parts: Sequence[str], look: Look | None) -> Text:
    """Return the line above the table: what this is, what runs, how old the evidence is."""
    text = Text(title, "bold", no_wrap=True, overflow="ellipsis")
    for part in parts:
        text.append("  " + part, "none")
    if look is not None:
        age_ms = look.evidence_age_ms
        if age_ms is None:
            text.append("  evidence: no worker", "red")
        else:
            text.append(f"  evidence {age_ms / 1000:.1f} s old", "red" if age_ms > 1_500 else "")
            if look.waits and age_ms > STALE_MS:
                text.append(f": {look.waits}", "red")
    return text


def picture(head: Text, views: Iterable[View], lines: Sequence[Text | str], width: int, counts: bool) -> RenderableType:
    """Return header, table and the last lines, as one thing to draw. Only the last lines may wrap: below them nothing jumps."""
    return Group(head, table(views, width, counts), *lines)


def plain(view: View, counts: bool = False) -> str:
    """Return one gate as one line of text, for a pipe or a log."""
    tail = f"  admitted {view.admitted or 0:,}  withheld {view.withheld or 0:,}" if counts else ""
    return f"{view.gate}  {view.state}  {view.breaker}  permit {view.permit}{tail}  {_because(view)}"


def changes(before: dict[str, View], views: Iterable[View]) -> list[View]:
    """Return the views that say something else than last time (the permit's life always does, and is left out)."""

    def key(view: View) -> tuple[str, ...]:
        return (view.state, view.breaker, view.cause, view.mode, view.epoch, view.refused)

    return [view for view in views if view.gate not in before or key(before[view.gate]) != key(view)]


class _Terminal(Console):
    """A terminal whose reader may go away: main.py knows how a command ends then, and rich would say that it failed."""

    def on_broken_pipe(self) -> None:
        raise BrokenPipeError


def make_console(stderr: bool = False) -> Console:
    """Return the terminal; colours only where there is one."""
    return _Terminal(stderr=stderr, highlight=False, soft_wrap=True)


def _because(view: View) -> str:
    return " ".join(view.because.split())


def _count(number: int | None) -> Text:
    return Text("-", "dim") if number is None else Text(f"{number:,}")
