"""Recordings for tests: small, from a seed, through the synthetic front door."""

from __future__ import annotations

import random
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from failshut_replay.recording.manifest import KEY, Manifest
from failshut_replay.recording.reader import Recording
from failshut_replay.recording.record import record
from failshut_replay.sources.front_door import Event, evidence_of

START_MS = 1_772_442_000_000
SERIES = "agent/amount"


def policy(*conditions: str, gate: str = "pay", reset: str = "{after: 5s, probes: 0}", ttl: str = "3s") -> str:
    """A policy's text; conditions as flow YAML."""
    lines = [f"gate: {gate}", f"permit: {{ttl: {ttl}}}", "conditions:", *(f"  - {{{one}}}" for one in conditions)]
    return "\n".join([*lines, f"reset: {reset}"]) + "\n"


DRIFT = policy(f"drift: {{series: {SERIES}, detector: adwin}}")
DEAF = policy(f"drift: {{series: {SERIES}, detector: page_hinkley, threshold: 1e9}}")


def values(count: int = 800, change_at: int = 400, seed: int = 1, every_ms: int = 100) -> Iterator[Event]:
    """A series whose mean doubles."""
    rng = random.Random(seed)
    for at in range(count):
        yield Event(START_MS + at * every_ms, ("sample", SERIES, rng.gauss(48 if at < change_at else 97, 2)))


def recording(path: Path, events: Iterable[Event] | None = None, **policies: str) -> Recording:
    """Record events under policies (by file name, without its suffix)."""
    named = {f"{name}.yaml": text for name, text in (policies or {"pay": DRIFT}).items()}
    record(path, evidence_of(values() if events is None else events, named))
    return Recording(path)


def rewrite(path: Path, change: Any, to: Path | None = None, footer: bytes | None = None) -> Path:
    """Write a recording's rows again after `change(list of row dicts)`, with its footer as it was (or another)."""
    file = pq.ParquetFile(path)
    held = dict(file.metadata.metadata)
    kept = {key: value for key, value in held.items() if key != b"ARROW:schema"}
    if footer is not None:
        kept[KEY] = footer
    to = to or path
    groups = [file.read_row_group(number) for number in range(file.num_row_groups)]
    changed = [pa.Table.from_pylist(change(group.to_pylist()), schema=group.schema) for group in groups]
    with pq.ParquetWriter(to, changed[0].schema) as out:
        for group in changed:
            out.write_table(group, row_group_size=max(1, len(group)))
        out.add_key_value_metadata(kept)
    return to


def manifest_of(path: Path) -> Manifest:
    return Recording(path).manifest
