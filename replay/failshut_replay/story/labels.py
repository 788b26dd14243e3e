"""Labels: when something was wrong, as people who were there wrote it down beside the recording.

```yaml
incidents:
  - gate: payments.refund
    start: 2026-03-01T12:00:00Z
    end: 2026-03-01T12:20:00Z
    note: the pricing service sent cents for euros
```

`series` in place of `gate` stands for every gate whose policy watches that series. A file `NAME.labels.yaml` beside
`NAME.parquet` is found by itself.
"""

from __future__ import annotations

from datetime import datetime
from itertools import pairwise
from pathlib import Path
from typing import NamedTuple

import yaml

from failshut_breakers.policy.policy import PolicyError, parse_policy
from failshut_replay.errors import LabelFault
from failshut_replay.recording.manifest import Manifest
from failshut_replay.replay.what_if import keys_of
from failshut_replay.times import iso, read_time_ms

LABELS_MAX = 10_000


class Incident(NamedTuple):
    """A labelled incident of one gate. Times in milliseconds since 1970; the end is not in it."""

    gate: str
    start_ms: int
    end_ms: int
    note: str


def beside(recording: Path) -> Path:
    """Return where the labels of a recording stand, if it has any."""
    return recording.with_suffix(".labels.yaml")


def read_labels(path: Path, manifest: Manifest) -> list[Incident]:
    """Read labels, in the order of time.

    Raises:
        LabelFault: they are no labels, overlap, or lie outside the recording.
    """
    try:
        raw = yaml.safe_load(path.read_text(encoding="utf-8"))
    except (OSError, UnicodeDecodeError, yaml.YAMLError) as error:
        raise LabelFault(f"{path} cannot be read: {error}") from error
    listed = raw.get("incidents") if isinstance(raw, dict) else None
    if not isinstance(listed, list) or len(listed) > LABELS_MAX:
        raise LabelFault(f"{path}: expected `incidents:` and a list of at most {LABELS_MAX}")
    incidents: list[Incident] = []
    for number, item in enumerate(listed, 1):
        incidents += _incidents(item, f"{path}: incident {number}", manifest)
    incidents.sort(key=lambda incident: (incident.start_ms, incident.gate))
    for gate in {incident.gate for incident in incidents}:
        own = [incident for incident in incidents if incident.gate == gate]
        for one, two in pairwise(own):
            if two.start_ms < one.end_ms:
                raise LabelFault(f"{path}: two incidents of {gate} overlap at {iso(two.start_ms)}: make one of them")
    return incidents


def _incidents(item: object, where: str, manifest: Manifest) -> list[Incident]:
    if not isinstance(item, dict):
        raise LabelFault(f"{where}: expected gate (or series), start, end and note")
    unknown = set(item) - {"gate", "series", "start", "end", "note"}
    if unknown:
        raise LabelFault(f"{where}: unknown field {sorted(map(str, unknown))[0]!r}")
    times = []
    for name in ("start", "end"):
        if name not in item:
            raise LabelFault(f"{where}: `{name}` is missing")
        value = item[name]
        try:
            times.append(read_time_ms(value.isoformat() if isinstance(value, datetime) else value))
        except ValueError as error:
            raise LabelFault(f"{where}: {name}: {error}") from error
    start_ms, end_ms = times
    if end_ms <= start_ms:
        raise LabelFault(f"{where}: it ends before it begins")
    if start_ms < manifest.begin_ms or end_ms > manifest.end_ms:
        span = f"{iso(manifest.begin_ms)} to {iso(manifest.end_ms)}"
        raise LabelFault(f"{where}: {iso(start_ms)} to {iso(end_ms)} lies outside the recording, which is {span}")
    return [Incident(gate, start_ms, end_ms, str(item.get("note", ""))) for gate in _gates(item, where, manifest)]


def _gates(item: dict[str, object], where: str, manifest: Manifest) -> list[str]:
    if ("gate" in item) == ("series" in item):
        raise LabelFault(f"{where}: name either a gate or a series")
    if "gate" in item:
        if item["gate"] not in manifest.gates:
            raise LabelFault(f"{where}: gate {item['gate']} is not in the recording; it holds {', '.join(manifest.gates)}")
        return [str(item["gate"])]
    found = [gate for gate, series in _watched(manifest) if item["series"] in series and gate in manifest.gates]
    if not found:
        raise LabelFault(f"{where}: no policy in the recording watches series {item['series']}")
    return sorted(set(found))


def _watched(manifest: Manifest) -> list[tuple[str, set[str]]]:
    watched = []
    for activated in manifest.policies:
        for text in activated.files.values():
            try:
                policy = parse_policy(text)
            except PolicyError:
                continue  # it watches nothing
            watched.append((policy.gate, {key[1] for key in keys_of(policy) if key[0] in ("series", "instances")}))
    return watched
