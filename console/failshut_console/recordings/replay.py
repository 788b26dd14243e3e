"""`failshut replay`, `compare`, `score`, `report`, carried out: what happened, and what would have.

The signatures of the commands stand in commands/replaying.py; what is here needs the extra `replay`.
"""

from __future__ import annotations

import asyncio
import json
import re
from collections.abc import AsyncIterator
from dataclasses import asdict
from pathlib import Path

import typer

from failshut.whole_file import write_whole
from failshut_breakers.decision import Kind
from failshut_breakers.units import parse_duration_ms
from failshut_console.exits import Exit, Trouble
from failshut_console.recorder import rehearse
from failshut_console.recordings import plain_errors, texts
from failshut_replay.comparing import Difference
from failshut_replay.comparing import compare as compare_stories
from failshut_replay.labels import Incident, beside, read_labels
from failshut_replay.picture import picture
from failshut_replay.reading import Recording
from failshut_replay.recording import Evidence, record
from failshut_replay.rehearsal import messages
from failshut_replay.replaying import Replay, Step, Verdict, check, paced, said
from failshut_replay.reporting import SCORE_HEADS, score_cells, seconds
from failshut_replay.reporting import report as write_report
from failshut_replay.scoring import Score, baselines
from failshut_replay.scoring import score as score_of
from failshut_replay.story import Story, on_record, replayed
from failshut_replay.times import iso
from failshut_replay.whatif import NOTHING, Assumed


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
                f"{recording} does not begin with its log: what was decided before is known from the record alone",
                "nothing was written",
                "compare what two policies would have decided instead: failshut compare A B --on",
            )
        evidence = (Evidence(*one) for partition in manifest.partitions for one in opened.evidence(partition))
        source = f"{manifest.source}; decided again"
        written = record(to, evidence, gates=list(manifest.gates), from_ms=manifest.from_ms, source=source)
    typer.echo(f"{to}: {written.rows('decision')} decisions by this version\n{written.digest}")


def compare(
    one: str, two: str, on: list[Path], output: Path | None, assumed: Assumed, labels: Path | None, as_json: bool
) -> None:
    """Compare two sides on recordings."""
    found: list[dict[str, object]] = []
    with plain_errors():
        pairs = _pairs(one, two, on, assumed)
        for number, (recording, left, right) in enumerate(pairs):
            known = _labels(recording, labels)
            differences = compare_stories(left, right, known)
            if not as_json:
                _tell_differences(recording, left, right, differences)
            found.append({"recording": str(recording.path), "gates": [asdict(difference) for difference in differences]})
            if output is not None:
                path = output if number == 0 else output.with_stem(f"{output.stem}-{number + 1}")
                path.write_bytes(picture([left, right], known, f"{left.name} and {right.name}"))
                typer.echo(f"picture: {path}", err=as_json)
    if as_json:
        typer.echo(json.dumps(found, indent=1))


def score(
    recordings: list[Path], policies: list[Path], labels: Path | None, settle: str, assumed: Assumed, as_json: bool
) -> None:
    """Score recordings against their labels."""
    settle_ms = _duration(settle, "--settle")
    totals: dict[str, Score] = {}
    with plain_errors():
        for path in recordings:
            recording = Recording(path)
            story = _story(recording, texts(policies), assumed)
            known = _labels(recording, labels, needed=True)
            timelines = [story.timelines[gate] for gate in story.timelines]
            own = score_of(timelines, known, story.end_ms, path.stem, settle_ms, story.begin_ms)
            for name, each in {story.name: own, **baselines(timelines, known, story.end_ms, settle_ms, story.begin_ms)}.items():
                totals.setdefault(name, Score()).join(each)
    if as_json:
        typer.echo(json.dumps({name: each.as_json() for name, each in totals.items()}, indent=1))
        return
    for name, each in totals.items():
        for head, cell in zip(SCORE_HEADS[1:], score_cells(name, each)[1:], strict=True):
            typer.echo(f"{name:<14} {head:<22} {cell}")
        typer.echo("")
    for noticed in next(iter(totals.values())).incidents:
        said_of = "missed" if noticed.delay_s is None else f"noticed after {noticed.delay_s:g} s by {noticed.cause}"
        said_of += f", open for {noticed.open_s:g} of {noticed.length_s:g} s"
        typer.echo(f"{noticed.recording} {iso(noticed.start_ms)} {noticed.gate}: {said_of}   {noticed.note}")


def report(
    recording: Path,
    output: Path,
    png: Path | None,
    policies: list[Path],
    labels: Path | None,
    assumed: Assumed,
    force: bool,
) -> None:
    """Write a report."""
    with plain_errors():
        for path in (output, png):
            if path is not None and path.exists() and not force:
                raise Trouble(f"{path} is there already", "nothing was written", "give another name, or --force")
        opened = Recording(recording)
        verdict = check(opened)
        stories = [replayed(opened, "as it happened")]
        if policies:
            stories.append(replayed(opened, "what if", texts(policies), assumed))
        known = _labels(opened, labels)
        html = write_report(opened, stories, known, verdict, texts(policies))
        write_whole(output, html.encode("utf-8", "replace"))
        if png is not None:
            write_whole(png, picture(stories, known, opened.path.stem))
    typer.echo(f"{output}: {verdict.told()}")


# --- parts ------------------------------------------------------------------------------------------------------


def _factor(speed: str) -> float:
    match = re.fullmatch(r"(\d{1,6}(?:\.\d{1,3})?)x?", speed)
    if speed == "max":
        return 0.0
    if match is None or not float(match[1]):
        raise Trouble(f"--speed {speed}: write max, or such as 10x or 1x", "nothing was replayed")
    return float(match[1])


def _duration(text: str, option: str) -> int:
    try:
        return 0 if text in ("", "0", "0s") else parse_duration_ms(text)
    except ValueError as error:
        raise Trouble(f"{option}: {error}", "nothing was done") from error


def assumed_world(probes: bool, reset_after: str) -> Assumed:
    """What the world answers in a what-if."""
    assumed = Assumed(probes, _duration(reset_after, "--reset-after"))
    return NOTHING if assumed == NOTHING else assumed


def _labels(recording: Recording, given: Path | None, needed: bool = False) -> list[Incident]:
    path = given or beside(recording.path)
    if not path.exists():
        if needed or given:
            raise Trouble(
                f"there are no labels at {path}", "nothing was scored", "write them (docs/replay.md), or name them: --labels"
            )
        return []
    return read_labels(path, recording.manifest)


def _story(recording: Recording, policies: dict[str, str], assumed: Assumed) -> Story:
    if not policies:
        return on_record(recording)
    story = replayed(recording, "what if", policies, assumed, series=False)
    for complaint in story.complaints:
        typer.echo(f"{recording.path}: {complaint}", err=True)
    return story


def _pairs(one: str, two: str, on: list[Path], assumed: Assumed) -> list[tuple[Recording, Story, Story]]:
    if not on:
        if not (one.endswith(".parquet") and two.endswith(".parquet")):
            raise Trouble("--on is missing", "nothing was compared", "name the recordings to compare on: --on incident.parquet")
        left, right = Recording(one), Recording(two)
        evidence = [[group for group in each.manifest.groups if group.kind == "evidence"] for each in (left, right)]
        if [group.digest for group in evidence[0]] != [group.digest for group in evidence[1]]:
            raise Trouble(f"{one} and {two} hold different evidence", "their decisions cannot be compared")
        return [(left, on_record(left, left.path.stem), on_record(right, right.path.stem))]
    return [(recording, _side(one, recording, assumed), _side(two, recording, assumed)) for recording in map(Recording, on)]


def _side(side: str, recording: Recording, assumed: Assumed) -> Story:
    if side == "recorded":
        return replayed(recording, "recorded")
    return replayed(recording, Path(side).stem, texts([Path(side)]), assumed)


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


def _tell_differences(recording: Recording, left: Story, right: Story, differences: list[Difference]) -> None:
    typer.echo(f"{recording.path}: {left.name} and {right.name}")
    for complaint in (*left.complaints, *right.complaints):
        typer.echo(f"  {complaint}", err=True)
    for one in differences:
        inside = ""
        if one.incidents_ms[2]:
            inside = "open inside incidents for {} / {} of {}".format(*map(seconds, one.incidents_ms))
        if one.first_ms is None or one.first is None:
            typer.echo(f"  {one.gate}: no difference" + (f", {inside}" if inside else ""))
            continue
        typer.echo(f"  {one.gate}: first differs at {iso(one.first_ms)}: {one.first[0]} / {one.first[1]}")
        before, after = one.open_ms
        typer.echo(f"    open for {seconds(before)} / {seconds(after)}, apart for {seconds(one.apart_ms)}")
        if inside:
            typer.echo(f"    {inside}")
        typer.echo(f"    closings {one.closings[0]} / {one.closings[1]}, demands {one.trips[0]} / {one.trips[1]}")


def _rehearse(recording: Recording, broker: str, topic: str, factor: float) -> None:
    if "rehearsal" not in topic:
        raise Trouble(
            f"--topic {topic} does not say that it is for a rehearsal",
            "nothing was written: a gate that somebody relies on must not be fed with old news",
            "run a monitor with a prefix of its own, such as rehearsal-, and name its topic: --topic rehearsal-telemetry",
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
