"""Carries out `failshut try`: a series of a file or of Kafka, through the gate that it might have."""

from __future__ import annotations

import json
import re
import sys
import time
from collections.abc import Callable
from concurrent.futures import ProcessPoolExecutor
from multiprocessing import get_context
from pathlib import Path
from typing import Any, NamedTuple
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

import typer

from failshut.whole_file import write_whole
from failshut_breakers.policy.units import format_ms
from failshut_console.exits import Trouble
from failshut_console.local.state import Runtime
from failshut_console.monitor.telemetry import readings_of
from failshut_console.recordings.shared import duration_ms, plain_errors
from failshut_detectors.registry import DetectorError
from failshut_replay.sources.files import read_events
from failshut_replay.times import iso
from failshut_replay.trial.lived import Lived, live
from failshut_replay.trial.series import Series, series_of
from failshut_replay.trial.suggested import Tried, tried
from failshut_replay.trial.trial_picture import trial_picture

NOTHING = "nothing was tried, and no gate is concerned"
CLOSED_MUCH = 0.05
PROCESSES_MAX = 4


class Wanted(NamedTuple):
    """What the options say."""

    series: str
    detectors: list[str]
    picture: Path | None
    as_json: bool
    force: bool


def from_file(file: Path, series: str, columns: tuple[str, str], zone: str, decimal_comma: bool) -> Series:
    """Return the series of a file."""
    try:
        zoned = ZoneInfo(zone) if zone else None
    except (ValueError, OSError, ZoneInfoNotFoundError) as error:  # a zone may name a folder
        raise Trouble(f"--zone: {error}", NOTHING, "write it as Europe/Berlin") from error
    called = series or f"data/{re.sub('[^A-Za-z0-9_.-]', '_', file.name.partition('.')[0]) or 'series'}"
    events = read_events(file, called, *columns, zone=zoned, decimal_comma=decimal_comma, told=_warn)
    return series_of(events, series if "/" in series else "")


def from_kafka(at: Runtime, series: str, last: str) -> Series:
    """Return a series that a running Kafka holds."""
    if not series or "/" not in series:
        raise Trouble("--series is needed to read from Kafka", NOTHING, "name it: --series SERVICE/METRIC; or name a file")
    if not at.broker:
        raise Trouble("no broker is known", NOTHING, "start `failshut up`, or give --broker kafka://HOST:PORT; or name a file")
    return series_of(readings_of(at.broker, at.prefix, series, duration_ms(last, "--last")), series)


def work(wanted: Wanted, read: Callable[[], Series]) -> None:
    """Try what `read` returns, and print what it came to."""
    picture = wanted.picture
    if picture is not None and picture.suffix.lower() not in (".png", ".svg"):
        raise Trouble(f"{picture}: a picture is .png or .svg", NOTHING, "name one, for example try.png: --output")
    if picture is not None and picture.exists() and not wanted.force:
        raise Trouble(f"{picture} is there already", NOTHING, "give another name, or --force")
    with plain_errors():
        series = read()
        try:
            policies = tried(series, wanted.detectors)
        except DetectorError as error:
            raise Trouble(str(error), NOTHING, "see `failshut detectors`") from error
        lives = _all(policies, series)
        if picture is not None:
            write_whole(picture, trial_picture(series, lives, picture.suffix.lower()[1:]))
    if wanted.as_json:
        typer.echo(json.dumps(_as_json(series, lives), indent=1))
        return
    for line in [*_told(series, lives), *([f"\n{picture}: the picture"] if picture else [])]:
        typer.echo(line)


def _all(policies: list[Tried], series: Series) -> list[Lived]:
    """Try all policies, each in a process of its own."""
    progress = _Progress(len(policies))
    with ProcessPoolExecutor(min(PROCESSES_MAX, len(policies)), mp_context=get_context("spawn")) as pool:
        futures = [pool.submit(live, policy, series) for policy in policies]
        lives = []
        for future in futures:
            lives.append(future.result())
            progress.done(lives[-1].tried.name)
    progress.end()
    return lives


def _told(series: Series, lives: list[Lived]) -> list[str]:
    width = max(14, *(len(one.tried.name) + 2 for one in lives))
    rows = [
        ("", [one.tried.name for one in lives]),
        ("open after", [_span(one.opened_ms - series.times_ms[0]) if one.opened_ms else "never" for one in lives]),
        ("closings a week", [f"{one.closings_a_week:.1f}" for one in lives]),
        ("closed", [f"{100 * one.closed_share:.1f} %" for one in lives]),
        *((kind, [_heard(one, kind) for one in lives]) for kind in lives[0].heard_ms),
    ]
    first, instead = lives[0], lives[1]
    lines = [
        f"{series.name}: {len(series)} readings, one every {_span(series.pace_ms)}, "
        f"{iso(series.times_ms[0])} to {iso(series.times_ms[-1])}",
        "",
        *(f"{head:<17}" + "".join(f"{cell:<{width}}" for cell in cells).rstrip() for head, cells in rows),
        "",
        "Below the line `closed`: how many of the incidents that were put in closed the gate, and after how long.",
    ]
    if not any(first.heard_ms.values()):
        lines.append("None was put in: the series is too short, or the gate was closed where they would have been.")
    paste = first
    if first.closed_share > CLOSED_MUCH and instead.closed_share < first.closed_share:
        lines.append(
            f"Without `adopt` it would be closed for {100 * first.closed_share:.0f} % of the time: here levels change and "
            "stay. With it, what lasts is normal after a while. A fault that lasts is normal then, too."
        )
        paste = instead
    return [*lines, "", "Paste this into a policy:", "", *paste.tried.lines()]


def _heard(lived: Lived, kind: str) -> str:
    tried_at, heard, delay_ms = lived.told(kind)
    if not tried_at:
        return "-"
    return f"{heard} of {tried_at}" + (f", {_span(delay_ms)}" if delay_ms is not None else "")


def _span(ms: int) -> str:
    """Return a duration with the largest unit that it fills, to two figures or so."""
    for unit_ms in (86_400_000, 3_600_000, 60_000, 1_000):
        if ms >= 2 * unit_ms:
            return format_ms(round(ms / unit_ms) * unit_ms)
    return format_ms(ms) if ms else "at once"


def _as_json(series: Series, lives: list[Lived]) -> dict[str, Any]:
    return {
        "series": series.name,
        "readings": len(series),
        "pace_ms": series.pace_ms,
        "begin_ms": series.times_ms[0],
        "end_ms": series.times_ms[-1],
        "tried": [
            {
                "name": one.tried.name,
                "policy": one.tried.lines(),
                "opened_ms": one.opened_ms or None,
                "closed_share": one.closed_share,
                "closings_a_week": one.closings_a_week,
                "closings": [
                    {"start_ms": c.start_ms, "end_ms": c.end_ms, "cause": c.cause, "because": c.because} for c in one.closed
                ],
                "incidents": {
                    kind: dict(zip(("tried", "heard", "delay_ms"), one.told(kind), strict=True)) for kind in one.heard_ms
                },
            }
            for one in lives
        ],
    }


def _warn(text: str) -> None:
    typer.echo(text, err=True)


class _Progress:
    """A line on a terminal, nothing elsewhere."""

    def __init__(self, total: int) -> None:
        self._total, self._done, self._live, self._began_s = total, 0, sys.stderr.isatty(), time.monotonic()
        self._show("it reads")

    def done(self, name: str) -> None:
        self._done += 1
        self._show(f"{name} is done")

    def _show(self, what: str) -> None:
        if self._live:
            sys.stderr.write(f"\r\x1b[Ktrying: {self._done} of {self._total}, {what}, {time.monotonic() - self._began_s:.0f} s")
            sys.stderr.flush()

    def end(self) -> None:
        """Leave a clean line."""
        if self._live:
            sys.stderr.write("\r\x1b[K")
