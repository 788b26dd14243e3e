"""Reads the decisions of a span, or of a recording, for the report on gates in shadow."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import typer

from failshut_console.monitor.decision_log import DecisionLog
from failshut_console.monitor.log_entries import Digest, Entry
from failshut_console.monitor.shadow_report import Shadow, ShadowReport

READ_MAX = 1_000_000
ENTRIES_MAX = 200_000


async def gather(broker: str, prefix: str, since_ms: int, now_ms: int) -> list[Shadow]:
    """Return the gates that were in shadow since a time, each with what it would have done.

    Raises:
        Trouble: Kafka does not answer, or has no such topic.
    """
    digest, entries, left_out = Digest(), list[Entry](), 0
    async with DecisionLog(broker, prefix) as log:
        span = await log.span(since_ms, 0, READ_MAX)
        async for record in log.read(span):
            entry = digest.take(record.time_ms, record.value)
            if entry is not None and len(entries) < ENTRIES_MAX:
                entries.append(entry)
            left_out += entry is not None and len(entries) >= ENTRIES_MAX
    if span.unread or left_out:
        typer.echo(f"cut: {span.unread + left_out:,} decisions were not read; name a shorter --since", err=True)
    report = ShadowReport()
    for entry in sorted(entries, key=lambda one: (one.evidence_ms, one.evidence_offset)):
        report.take(entry)
    return report.end(now_ms)


def replayed(recording: Path, policies: Mapping[str, str]) -> list[Shadow]:
    """Return the gates that were in shadow in a recording, or would be under other policies: file names to texts.

    Raises:
        RecordingError: it cannot be read.
        ReplayError: a policy is bad, or for a gate that is not in the recording.
    """
    from failshut_breakers.decisions.decision import encode_decision
    from failshut_replay import Recording, Replay

    digest, report, last_ms = Digest(), ShadowReport(), 0
    for step in Replay(Recording(recording), policies):
        last_ms = step.time_ms
        for decision in step.decisions:
            entry = digest.take(step.time_ms, encode_decision(decision))
            if entry is not None:
                report.take(entry)
    return report.end(last_ms)
