"""Carries out `failshut record`: evidence and decisions of a monitor, or a file of somebody else's, as a recording."""

from __future__ import annotations

import sys
import time
from collections.abc import Callable
from pathlib import Path
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

import typer

from failshut_breakers.policy.units import parse_duration_ms
from failshut_console.exits import Trouble
from failshut_console.local.state import Runtime
from failshut_console.monitor.kafka_log import KafkaLog
from failshut_console.recordings.shared import plain_errors, texts
from failshut_replay.recording.manifest import Manifest
from failshut_replay.recording.record import record as write_recording
from failshut_replay.sources.files import read_events
from failshut_replay.sources.front_door import evidence_of
from failshut_replay.times import iso, read_time_ms
from failshut_streams.kafka.address import Broker


def record(
    output: Path,
    gates: list[str],
    begin: str,
    end: str,
    lead: str,
    at: Runtime,
    force: bool,
) -> None:
    """Record from a monitor."""
    from_ms, to_ms = _span(begin, end)
    begin_ms = _led_up(from_ms, lead)
    if not at.broker:
        raise Trouble("no broker is known", "nothing was recorded", "start `failshut up`, or give --broker kafka://HOST:PORT")
    progress = _Progress()
    with plain_errors(), KafkaLog(at.broker, at.prefix) as log:
        progress.total = lambda: log.total
        manifest = write_recording(
            output,
            log.evidence(gates, to_ms, begin_ms),
            log.decisions(),
            gates=gates,
            from_ms=from_ms,
            to_ms=to_ms,
            source=f"{Broker.parse(at.broker)} {at.prefix}".strip(),
            force=force,
            progress=progress,
            activations=log.activation,
        )
    progress.end()
    _tell(output, manifest)


def _span(begin: str, end: str) -> tuple[int, int]:
    from_ms, to_ms = _time(begin, "--from"), _time(end, "--to")
    if to_ms and from_ms > to_ms:
        raise Trouble("--from is after --to", "nothing was recorded", "name a later --to, or an earlier --from")
    return from_ms, to_ms


def _led_up(from_ms: int, lead: str) -> int:
    """Return when the recording is to begin; 0 is with the log."""
    if not lead:
        return 0
    if not from_ms:
        raise Trouble("--lead needs --from", "nothing was recorded", "say what the recording is about: --from")
    try:
        return from_ms - parse_duration_ms(lead)
    except ValueError as error:
        raise Trouble(f"--lead: {error}", "nothing was recorded", "write it as 30m or 6h") from error


def take_in(
    file: Path,
    output: Path,
    policies: list[Path],
    series: str,
    columns: tuple[str, str],
    zone: str,
    decimal_comma: bool,
    mark_every: str,
    force: bool,
) -> None:
    """Record from a file of somebody else's. What is odd about it is told before the recording stands under its name."""
    if not policies:
        raise Trouble("--import needs --policy", "nothing was recorded: evidence is routed by policies", "name one or more")
    try:
        mark_every_ms = parse_duration_ms(mark_every)
        zoned = ZoneInfo(zone) if zone else None
    except (ValueError, OSError, ZoneInfoNotFoundError) as error:  # a zone may name a folder
        do = "write --mark-every as 1s, and --zone as Europe/Berlin"
        raise Trouble(f"--mark-every or --zone: {error}", "nothing was recorded", do) from error
    progress = _Progress()
    with plain_errors():
        events = read_events(file, series, *columns, zone=zoned, decimal_comma=decimal_comma, told=_warn)
        evidence = evidence_of(events, texts(policies), mark_every_ms, told=_warn)
        manifest = write_recording(output, evidence, source=f"imported from {file.name}", force=force, progress=progress)
    progress.end()
    _tell(output, manifest)


def _warn(text: str) -> None:
    typer.echo(text, err=True)


def _time(text: str, option: str) -> int:
    if not text:
        return 0
    try:
        return read_time_ms(text)
    except ValueError as error:
        raise Trouble(f"{option}: {error}", "nothing was recorded", "write it as 2026-03-02T09:00:00Z") from error


def _tell(output: Path, manifest: Manifest) -> None:
    typer.echo(
        f"{output}: {manifest.rows('evidence')} evidence records and {manifest.rows('decision')} decisions of "
        f"{', '.join(manifest.gates)}, {iso(manifest.begin_ms)} to {iso(manifest.end_ms)}"
    )
    typer.echo(f"{manifest.digest}   (keep it: by it you know the recording again)")
    if manifest.starts:
        typer.echo(
            "this recording starts mid-log: each gate is compared from the first permit that a replay reproduces",
            err=True,
        )
    for differing in manifest.differing:
        typer.echo(f"two governors are on record with different decisions: {differing}", err=True)


class _Progress:
    """A bar on a terminal, nothing elsewhere."""

    def __init__(self) -> None:
        self.total: Callable[[], int] = lambda: 0
        self._live = sys.stderr.isatty()
        self._shown_s = 0.0

    def __call__(self, done: int, time_ms: int) -> None:
        now_s = time.monotonic()
        if not self._live or now_s - self._shown_s < 0.2:
            return
        self._shown_s = now_s
        total = self.total()
        bar = f"[{'#' * (24 * done // total):<24}] {100 * done // total:3d} % " if total else ""
        sys.stderr.write(f"\r\x1b[Krecording {bar}{done} records, {iso(time_ms) if time_ms else ''}")
        sys.stderr.flush()

    def end(self) -> None:
        """Leave a clean line."""
        if self._live and self._shown_s:
            sys.stderr.write("\r\x1b[K")
