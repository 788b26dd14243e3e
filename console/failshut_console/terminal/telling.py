"""Carries out `failshut log`: what happened, the newest last, and what happens from then on."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Iterable
from dataclasses import dataclass

import typer

from failshut_console.exits import Trouble
from failshut_console.local.state import Runtime
from failshut_console.monitor.decision_log import DecisionLog, Said, Span
from failshut_console.monitor.log_bounds import Newest, cut_words
from failshut_console.monitor.log_entries import Digest, Entry
from failshut_console.terminal import gate_table
from failshut_console.terminal.log_lines import Lines
from failshut_console.terminal.times import utc

READ_MAX = 200_000
"""Decisions that are read before anything is shown."""
PIPE_COLUMNS = 160
"""Width where standard output is no terminal."""


@dataclass(frozen=True, slots=True)
class Question:
    """What was asked for: times in milliseconds, `until_ms` 0 without an end; `gate` empty for all."""

    gate: str
    since_ms: int
    until_ms: int
    last: int
    follow: bool
    as_json: bool

    def asks_for(self, entry: Entry) -> bool:
        """Return whether an entry is part of the answer."""
        wanted = entry.time_ms >= self.since_ms and (not self.until_ms or entry.time_ms < self.until_ms)
        return wanted and self.gate in ("", entry.gate)


def tell(at: Runtime, question: Question, read_max: int = READ_MAX) -> None:
    """Show what happened, and follow it until Ctrl-C where that was asked for.

    Raises:
        Trouble: no broker is known, it does not answer, or it has no decisions.
    """
    if not at.broker:
        raise Trouble(
            "no broker is known: no `failshut up` runs here and --broker was not given",
            "nothing was read, and no gate is concerned",
            "run it where the monitor runs, or name its broker: --broker kafka://HOST:PORT",
        )
    try:
        asyncio.run(_tell(at, question, read_max))
    except KeyboardInterrupt:
        return


async def _tell(at: Runtime, question: Question, read_max: int) -> None:
    digest, kept = Digest(), Newest(question.last)
    async with DecisionLog(at.broker, at.prefix) as log:
        span = await log.span(question.since_ms, question.until_ms, read_max)
        whole_from_ms = await gather(log, span, question, digest, kept)
        screen = _Screen(question)
        for line in cut_words(span.unread, whole_from_ms, kept.dropped, question.last):
            _remark(line)
        screen.show(kept.taken(whole_from_ms))
        if not screen.shown and not question.as_json:
            typer.echo(_nothing(question, span))
        if digest.unreadable:
            _remark(f"{digest.unreadable} records are no decisions of this version, and were left out")
        if question.follow:
            async for records in log.follow(span.ends, _remark):
                screen.show(_news(records, question, digest))


async def gather(log: DecisionLog, span: Span, question: Question, digest: Digest, kept: Newest) -> int:
    """Read a span into `kept`; return from when on the picture is whole, 0 where nothing was left unread."""
    begins_ms: dict[int, int] = {}
    async for record in log.read(span):
        begins_ms.setdefault(record.partition, record.time_ms)
        entry = digest.take(record.time_ms, record.value)
        if entry is not None and question.asks_for(entry):
            kept.add(record.partition, record.offset, entry)
    return max((begins_ms.get(place.partition, 0) for place in span.cut), default=0)


def _news(records: Iterable[Said], question: Question, digest: Digest) -> list[Entry]:
    """Return what happened in records that came together, in the order of time."""
    taken = [digest.take(record.time_ms, record.value) for record in sorted(records, key=lambda one: one[2::-1])]
    return [entry for entry in taken if entry is not None and question.gate in ("", entry.gate)]


class _Screen:
    """Prints entries as they come, in columns that the first ones decide."""

    def __init__(self, question: Question) -> None:
        self.as_json, self.shown = question.as_json, 0
        self._console = gate_table.make_console()
        self._lines: Lines | None = None

    def show(self, entries: list[Entry]) -> None:
        """Print entries, the newest last."""
        if not entries:
            return
        if self.as_json:
            for entry in entries:
                typer.echo(json.dumps(entry.as_json()))
        else:
            for line in self._drawn(entries):
                self._console.print(line)
        self.shown += len(entries)

    def _drawn(self, entries: list[Entry]) -> Iterable[object]:
        if self._lines is None:
            width = self._console.width if self._console.is_terminal else PIPE_COLUMNS
            self._lines = Lines(width, entries)
            yield self._lines.header()
        for entry in entries:
            yield from self._lines.of(entry)


def _nothing(question: Question, span: Span) -> str:
    read = sum(span.ends[place] - span.begins[place] for place in span.begins)
    whose = f"to {question.gate} " if question.gate else ""
    until = f" until {utc(question.until_ms)}" if question.until_ms else ""
    return f"nothing happened {whose}since {utc(question.since_ms)}{until} ({read:,} decisions were read)"


def _remark(line: str) -> None:
    typer.echo(line, err=True)
