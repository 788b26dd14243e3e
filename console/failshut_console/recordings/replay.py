"""Carries out `failshut replay`: a check, a what-if or a rehearsal."""

from __future__ import annotations

import asyncio
import json
import re
from collections.abc import AsyncIterator
from dataclasses import asdict
from pathlib import Path

import typer

from failshut_breakers.decisions.decision import Kind
from failshut_console.exits import Exit, Trouble
from failshut_console.monitor.kafka_log import rehearse
from failshut_console.recordings.shared import plain_errors, texts
from failshut_replay.recording.reader import Recording
from failshut_replay.recording.record import Evidence, record
from failshut_replay.replay.rehearsal import messages
from failshut_replay.replay.replay import Replay, Step, paced
from failshut_replay.replay.verdict import Verdict, check, said
from failshut_replay.replay.what_if import Assumed
from failshut_replay.times import iso


def replay(
    recording: Path,
    policies: list[Path],
    speed: str,
    assumed: Assumed,
    rehearsal: tuple[str, str],
    quiet: bool,
    as_json: bool,
) -> None:
    """Replay a recording: a check, a what-if, or a rehearsal on (broker, topic)."""
    factor = _factor(speed)
    with plain_errors():
        opened = Recording(recording)
        if rehearsal[0]:
            _rehearse(opened, *rehearsal, factor)
            return
        if policies:
            _what_if(opened, texts(policies), assumed, factor, quiet, as_json)
            return
        show = (lambda step: None) if quiet or as_json else _show
        verdict = check(opened, show, factor)
    if as_json:
        typer.echo(json.dumps({"recording": opened.digest, "identical": verdict.identical, **asdict(verdict)}))
    else:
        _tell_verdict(opened, verdict)
    if not verdict.same:
        raise typer.Exit(Exit.REFUSED)


def save(recording: Path, to: Path) -> None:
    """Write the evidence of a recording with the decisions that this version takes over it."""
    with plain_errors():
        opened = Recording(recording)
        manifest = opened.manifest
        if manifest.starts:
            raise Trouble(
                f"{recording} does not begin with its log, so this version cannot decide again what came before it",
                "nothing was written",
                "compare what two policies would have decided instead: failshut compare A B --on RECORDING",
            )
        evidence = (Evidence(*one) for partition in manifest.partitions for one in opened.evidence(partition))
        source = f"{manifest.source}; decided again"
        written = record(to, evidence, gates=list(manifest.gates), from_ms=manifest.from_ms, source=source)
    typer.echo(f"{to}: {written.rows('decision')} decisions by this version\n{written.digest}")


def _factor(speed: str) -> float:
    match = re.fullmatch(r"(\d{1,6}(?:\.\d{1,3})?)x?", speed)
    if speed == "max":
        return 0.0
    if match is None or not float(match[1]):
        raise Trouble(f"--speed {speed} is no speed", "nothing was replayed", "write max, 10x or 1x")
    return float(match[1])


def _show(step: Step) -> None:
    for decision in step.decisions:
        if decision.kind is not Kind.RENEW:
            typer.echo(f"{iso(step.time_ms)}  {said(decision)}")


def _what_if(
    recording: Recording, policies: dict[str, str], assumed: Assumed, factor: float, quiet: bool, as_json: bool
) -> None:
    replay = Replay(recording, policies, assumed)
    closings = 0
    for step in paced(replay, factor):
        closings += sum(decision.kind is Kind.CLOSE for decision in step.decisions)
        if not quiet and not as_json:
            _show(step)
    complaints = replay.what_if.complaints()
    if as_json:
        typer.echo(json.dumps({"recording": recording.digest, "closings": closings, "complaints": complaints}))
        return
    for complaint in complaints:
        typer.echo(complaint, err=True)
    typer.echo(f"what if: {replay.records} evidence records, {replay.samples} samples, {closings} closings")


def _tell_verdict(recording: Recording, verdict: Verdict) -> None:
    for name, (then, now) in verdict.made_by.items():
        typer.echo(f"note: made with {name} {then}, replayed with {now}")
    if verdict.undecided:
        typer.echo(f"note: {verdict.undecided} decisions follow from evidence that no governor had judged when it was recorded")
    typer.echo(f"recording {recording.digest}")
    if not verdict.same:
        typer.echo(f"NOT identical. {verdict.told()}", err=True)
    elif verdict.identical and not verdict.compared_from:
        taken = "on record" if recording.manifest.decisions_taken else "as when the recording was made"
        typer.echo(f"identical: {verdict.decisions} decisions over {verdict.records} evidence records, byte for byte {taken}")
    else:
        typer.echo(verdict.told())
    for name, before, now in verdict.fields:
        typer.echo(f"  {name}: on record {before}, now {now}", err=True)


def _rehearse(recording: Recording, broker: str, topic: str, factor: float) -> None:
    if "rehearsal" not in topic:
        raise Trouble(
            f"--topic: the name {topic} does not contain the word rehearsal",
            "nothing was written: old telemetry must not reach a gate that somebody relies on",
            "run a monitor with another prefix, for example rehearsal-, and name its topic: --topic rehearsal-telemetry",
        )

    async def at_pace() -> AsyncIterator[bytes]:
        began, first_ms = asyncio.get_running_loop().time(), 0
        for step in Replay(recording):
            first_ms = first_ms or step.time_ms
            if factor:
                due = began + (step.time_ms - first_ms) / 1000 / factor
                await asyncio.sleep(max(0.0, due - asyncio.get_running_loop().time()))
            for message in messages(step):
                yield message

    sent = asyncio.run(rehearse(broker, topic, at_pace()))
    typer.echo(f"{sent} telemetry records are in {topic}")
