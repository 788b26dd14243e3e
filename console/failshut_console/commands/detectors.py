"""`failshut detectors`: which detectors a policy may ask for, and whether one keeps the contract."""

from __future__ import annotations

import inspect
import json
import sys
from dataclasses import asdict, dataclass
from typing import Annotated

import typer
from rich.table import Table
from rich.text import Text

from failshut_console.commands.options import AsJson
from failshut_console.exits import Exit, Trouble
from failshut_console.terminal import gate_table
from failshut_detectors import registry, suite
from failshut_detectors.contract import Contract, EventDetector, VectorDetector
from failshut_detectors.registry import DetectorError
from failshut_detectors.suite import streams
from failshut_detectors.suite.streams import Shape

PIPE_COLUMNS = 140
"""Width of the table where standard output is no terminal."""
WIDTH = 3  # metrics of a detector on several
_READY_RECORDS_MAX = 5_000

group = typer.Typer(invoke_without_command=True, rich_markup_mode="markdown")


@dataclass(frozen=True, slots=True)
class Row:
    """What there is to know of a detector before taking it."""

    name: str
    condition: str
    takes: str
    parameters: dict[str, int | float | bool | str]
    ready_after_records: int | None
    """On a calm stream, with the parameters as they come; None: not within _READY_RECORDS_MAX."""
    false_trips: bool
    plugin: bool
    what: str


@group.callback()
def listed(context: typer.Context, as_json: AsJson = False) -> None:
    """Show every detector that a policy may ask for: its condition, its parameters, and what it detects.

    READY is how many records of a calm stream a detector reads before it can judge. Until then its gate stays closed.
    FALSE TRIPS says whether a policy may give a budget (`false_trips: 1 per 30d`). From it the detector finds its
    threshold.

    Exit status: 0 shown, 1 an installed plug-in cannot be used, 2 wrong usage.
    """
    if context.invoked_subcommand is not None:
        return
    refused = registry.refused()
    rows = [_row(name) for name in registry.names() if name in registry.OURS or name not in refused]
    if as_json:
        typer.echo(json.dumps({"detectors": [asdict(row) for row in rows], "refused": refused}, indent=1))
    else:
        console = gate_table.make_console()
        console.print(_table(rows, console.width if console.is_terminal else PIPE_COLUMNS))
        for why in refused.values():
            typer.echo(f"refused: {why}", err=True)
    if refused:
        raise typer.Exit(Exit.REFUSED)


@group.command("check")
def check(
    name: Annotated[str, typer.Argument(metavar="NAME", help="The detector, ours or a plug-in's.")],
    records: Annotated[int, typer.Option(min=3_000, max=10_000_000, help="Records of the longest stream.")] = suite.BUDGET,
    seed: Annotated[int, typer.Option(min=0, help="Seed of the streams; a finding names it.")] = 1,
    as_json: AsJson = False,
) -> None:
    """Test whether a detector keeps the contract: no look-ahead, no clock, the same answers in any batches, constant memory.

    Each promise is tested on many kinds of streams. A finding says which promise is broken, and where. A promise that
    depends on a broken one is not tested. This takes seconds, or a minute with a slow detector. A detector that judges
    several series is given three.

    Exit status: 0 every promise was kept, 1 one is broken, 2 wrong usage (no such detector).
    """
    try:
        registry.build(name, {}, WIDTH)
    except DetectorError as error:
        raise Trouble(str(error), "nothing was tried", "`failshut detectors` shows what there is") from error
    progress = _Progress()
    findings = suite.check(lambda: registry.build(name, {}, WIDTH), budget=records, seed=seed, progress=progress)
    progress.end()
    if as_json:
        typer.echo(json.dumps({"detector": name, "findings": [asdict(finding) for finding in findings]}, indent=1))
    else:
        for finding in findings:
            typer.echo(f"{name}: {finding}")
        untried = [promise.value for promise in suite.Promise if promise not in progress.tried]
        if untried:
            typer.echo(f"{name}: not tried, because they rest on what is broken: {', '.join(untried)}")
        if not findings:
            typer.echo(f"{name}: good. It keeps all {len(progress.tried)} promises, on streams of seed {seed}.")
    if findings:
        raise typer.Exit(Exit.REFUSED)


class _Progress:
    """Says on standard error what is being tried: one line that changes on a terminal, a line each elsewhere."""

    def __init__(self) -> None:
        self.tried: list[suite.Promise] = []
        self._live = sys.stderr.isatty()

    def __call__(self, promise: suite.Promise) -> None:
        self.tried.append(promise)
        place = list(suite.Promise).index(promise) + 1
        line = f"trying {place}/{len(suite.Promise)}: {promise}"
        sys.stderr.write(f"\r\x1b[K{line}" if self._live else f"{line}\n")
        sys.stderr.flush()

    def end(self) -> None:
        """Take the line away again."""
        if self._live:
            sys.stderr.write("\r\x1b[K")
            sys.stderr.flush()


def _row(name: str) -> Row:
    cls = registry.find(name)
    shape = (
        Shape.VECTORS if issubclass(cls, VectorDetector) else Shape.EVENTS if issubclass(cls, EventDetector) else Shape.VALUES
    )
    return Row(
        name=name,
        condition=cls.kind.value,
        takes=shape.value,
        parameters={parameter.name: parameter.default for parameter in registry.parameters(cls).values()},
        ready_after_records=_ready_after(name, shape),
        false_trips=_promises(cls),
        plugin=name not in registry.OURS,
        what=(inspect.getdoc(cls) or "").partition("\n")[0],
    )


def _ready_after(name: str, shape: Shape) -> int | None:
    detector = registry.build(name, {}, WIDTH)
    calm = streams.calm(shape, WIDTH, _READY_RECORDS_MAX, seed=1)
    for index in range(len(calm)):
        record = calm.cut(index, index + 1)
        detector.feed(record.records, record.times_ms)
        if detector.ready:
            return index + 1
    return None


def _promises(cls: type[Contract]) -> bool:
    try:
        cls.for_false_trips(10_000.0)
    except ValueError:
        return False
    return True


def _table(rows: list[Row], width: int) -> Table:
    grid = Table(box=None, padding=(0, 2, 0, 0), width=width, pad_edge=False)
    grid.add_column("detector", no_wrap=True)
    grid.add_column("under")
    grid.add_column("ready", justify="right", no_wrap=True)
    grid.add_column("false trips", no_wrap=True)
    grid.add_column("what it detects, and its parameters", ratio=1)
    for row in rows:
        said = Text(f"{row.what}\n")
        said.append(", ".join(f"{name} {_short(value)}" for name, value in row.parameters.items()) or "no parameters", "dim")
        grid.add_row(
            Text(row.name + (" (plug-in)" if row.plugin else ""), "bold"),
            row.condition if row.takes != Shape.VECTORS else f"{row.condition}, several series",
            f"{row.ready_after_records:,}" if row.ready_after_records is not None else f"over {_READY_RECORDS_MAX:,}",
            "a budget" if row.false_trips else "no promise",
            said,
        )
    return grid


def _short(value: int | float | bool | str) -> str:
    return f"{value:g}" if isinstance(value, float) else str(value)
