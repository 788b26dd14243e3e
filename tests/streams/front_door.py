"""Front-door records for tests of routers: records, chunks and cutters made by hand, and runs read back."""

from __future__ import annotations

import itertools
import json
import zlib
from collections.abc import Iterable, Sequence
from typing import Any

from failshut_breakers.evidence.log import EvidenceLog
from failshut_breakers.evidence.records import Beats, Faults, Lags, Outcomes, Run, Samples, Unreadable
from failshut_breakers.policy.routes import Routes
from failshut_streams.codecs import InternalDecoder, NativeDecoder
from failshut_streams.router.cutter import Cut, Cutter, Decoder, RunHead
from failshut_streams.sources.marks import MARK_KEY, encode_mark
from failshut_streams.transport import Chunk, Record
from failshut_streams.transport.front_door import APPEND_TIME

START_MS = 1_700_000_000_000
STEP_MS = 100
"""From one record to the next: every mark is a boundary of its own."""
EVIDENCE_ID = "evidence-id"
INSTALLATION = "installationoftests"
PARTITIONS = 3
LOG = EvidenceLog(EVIDENCE_ID, PARTITIONS)
ROUTES = Routes(
    routing=7,
    series={"pay/amount": ("a", "b", "c"), "pay/rate": ("b",), "pay/x": ("c", "d")},
    sources={"pay": ("a", "d")},
    lags={("g", "t"): ("b",)},
    gates=dict.fromkeys(("a", "b", "c", "d")),
    outcomes=frozenset(("a", "d")),
    unreadable=("a", "b", "c", "d"),
    made=(b"made",) * PARTITIONS,
)


def partition_of(gate: str) -> int:
    """A gate's evidence partition in these tests."""
    return zlib.crc32(gate.encode()) % PARTITIONS


def at_ms(offset: int) -> int:
    """The append time of the record at an offset."""
    return START_MS + offset * STEP_MS


def record(offset: int, value: Any, *, key: bytes | None = None, headers: Any = (), time_type: int = APPEND_TIME) -> Record:
    """A record; its append time grows with its offset. Bytes stand as they are, all else becomes JSON."""
    data = value if isinstance(value, bytes | None) else json.dumps(value).encode()
    return Record(offset, at_ms(offset), time_type, key, data, headers)


def mark(offset: int, *, time_ms: int | None = None, partitions: int = 2, time_type: int = APPEND_TIME) -> Record:
    """A mark whose writer's clock says `time_ms` (its append time)."""
    value = encode_mark(at_ms(offset) if time_ms is None else time_ms, partitions)
    return record(offset, value, key=MARK_KEY, time_type=time_type)


def sample(series: str = "pay/amount", value: Any = 1.0, **more: Any) -> dict[str, Any]:
    """One native sample."""
    service, metric = series.split("/")
    return {"service": service, "metric": metric, "value": value, **more}


def chunk(records: Sequence[Record], start: int | None = None, upto: int | None = None) -> Chunk:
    """A chunk of these records."""
    first = records[0].offset if start is None else start
    return Chunk("telemetry", 0, first, records[-1].offset + 1 if upto is None else upto, records, 1)


def cutter(known_partitions: int = 2, topic: str = "telemetry") -> Cutter:
    """A cutter of the first partition of telemetry, or of `internal`."""
    head = RunHead(LOG, 1, "tester")
    decoder: Decoder = InternalDecoder() if topic == "internal" else NativeDecoder()
    return Cutter(topic, 0, head, partition_of, decoder, lambda: known_partitions)


def chunks(records: Sequence[Record], cuts: Iterable[int]) -> list[Chunk]:
    """Records, which stand one behind the other, in chunks that end at these indexes."""
    at = [0, *sorted({cut for cut in cuts if 0 < cut < len(records)}), len(records)]
    return [chunk(records[lo:hi]) for lo, hi in itertools.pairwise(at)]


def rows_of(runs: Iterable[tuple[int, Run]]) -> list[tuple[str, tuple[Any, ...]]]:
    """Every reading in these runs by gate, in order: kind, names, row. Fails where one stands in the wrong partition."""
    rows: list[tuple[str, tuple[Any, ...]]] = []
    for partition, run in runs:
        for gate, readings in run.readings.items():
            assert partition_of(gate) == partition
            for reading in readings:
                match reading:
                    case Samples() | Faults():
                        names: tuple[str, ...] = (type(reading).__name__, reading.series)
                    case Beats():
                        names = ("Beats", reading.source)
                    case Lags():
                        names = ("Lags", reading.group, reading.topic)
                    case Outcomes() | Unreadable():
                        names = (type(reading).__name__,)
                    case _:
                        raise AssertionError(reading)
                rows += [(gate, (*names, row)) for row in reading.rows]
    return rows


def joined(cuts: Iterable[Cut], start: int) -> None:
    """Fail unless the runs of each evidence partition join, from `start` on."""
    told = [start] * PARTITIONS
    for cut in cuts:
        for partition, run in cut.runs:
            assert run.previous == told[partition]
            assert run.previous < run.upto
            told[partition] = run.upto
            offsets = [row[-1][0] for _, row in rows_of([(partition, run)])]
            assert all(run.previous <= offset < run.upto for offset in offsets)
