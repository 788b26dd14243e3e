"""A router without a commit starts where evidence says that others have got, and never beyond what all of it says."""

from __future__ import annotations

import msgspec
import pytest

from failshut_breakers.evidence.log import EvidenceLog
from failshut_breakers.evidence.records import Mark, Run
from failshut_servers import Kafka, free_port
from failshut_streams.kafka.topics import Counts, Topics, ensure
from failshut_streams.router import reached as reached_module
from failshut_streams.router.evidence_writer import EvidenceWriter, make_producer
from failshut_streams.router.reached import Reached, metadata_of, reached_in, read_metadata
from failshut_streams.transport import Position

ID, PARTITIONS, TERM = "evidence-id", 2, 3
TELEMETRY, INTERNAL = ("telemetry", 0), ("internal", 0)


def run(upto: int, *, place: tuple[str, int] = TELEMETRY, routing: int = 7, marked: bool = True, **more: object) -> Run:
    mark = Mark(1_000 * upto, 1) if marked else None
    made = Run(2, ID, PARTITIONS, TERM, routing, "r", *place, upto - 1, upto, 1_000 * upto, mark, {}, [], b"made")
    return msgspec.structs.replace(made, **more)


def positions(*runs: tuple[int, Run]) -> dict[tuple[str, int], Position]:
    reached = Reached(EvidenceLog(ID, PARTITIONS), TERM)
    for evidence_partition, one in runs:
        reached.take(evidence_partition, one)
    return reached.positions()


def test_the_newest_boundary_that_every_evidence_partition_has_is_the_place() -> None:
    """One that is acknowledged in some of them only is none, whatever the order in which they are read."""
    runs = [(0, run(10)), (1, run(10)), (0, run(20)), (1, run(20)), (0, run(30))]
    assert positions(*runs) == positions(*reversed(runs)) == {TELEMETRY: Position(20, "3/7")}


def test_a_place_that_an_evidence_partition_does_not_name_is_none() -> None:
    """Nobody knows how far it is covered there: its reading starts where the term begins."""
    assert positions((0, run(10)), (1, run(10)), (0, run(4, place=INTERNAL))) == {TELEMETRY: Position(10, "3/7")}


def test_a_run_that_ends_at_no_mark_ends_at_no_boundary() -> None:
    """Readings beyond the last mark were written to some evidence partitions alone."""
    assert positions((0, run(10)), (1, run(10)), (0, run(15, marked=False)), (1, run(15, marked=False))) == {
        TELEMETRY: Position(10, "3/7")
    }


@pytest.mark.parametrize("other", [{"term": 2}, {"evidence_id": "another"}, {"evidence_partitions": 3}])
def test_what_is_of_another_log_says_nothing(other: dict[str, object]) -> None:
    """An older term covered other positions."""
    assert positions((0, run(10, **other)), (1, run(10, **other))) == {}  # type: ignore[arg-type]


def test_the_oldest_routing_counts() -> None:
    """Where one evidence partition was last told under an older version, reading goes back before what that one lacked."""
    assert positions((0, run(30, routing=7)), (1, run(20, routing=9))) == {TELEMETRY: Position(20, "3/7")}
    assert positions((0, run(20, routing=7)), (0, run(20, routing=9)), (1, run(20, routing=9))) == {
        TELEMETRY: Position(20, "3/9")
    }


@pytest.mark.parametrize(("term", "routing", "gap"), [(1, -1, None), (3, 7, None), (3, 7, 12)])
def test_what_a_commit_says_is_read_back(term: int, routing: int, gap: int | None) -> None:
    """The two halves agree, and garbage says nothing."""
    assert read_metadata(metadata_of(term, routing, gap)) == (term, routing, -1 if gap is None else gap)
    assert read_metadata("3/7/") == (-1, -1, -1)


async def test_the_newest_evidence_is_read_and_no_more(kafka: Kafka, suffix: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """So many records of each partition from its end on; what else stands there is passed over."""
    topics = Topics(f"reached-{suffix}.")
    await ensure(kafka.url, topics, Counts(evidence=PARTITIONS))
    producer = make_producer(kafka.url, 10_000, "w")
    await producer.start()
    try:
        writer = EvidenceWriter(producer, topics.evidence)
        old = [(at, run(5, place=INTERNAL)) for at in range(PARTITIONS)]
        await writer.write(old)
        await writer.write([(at, run(upto)) for upto in range(10, 60) for at in range(PARTITIONS)])
        await writer.flush()
        await producer.send_and_wait(topics.evidence, b"garbage", partition=0)
    finally:
        await producer.stop()
    found = await reached_in(kafka.url, topics.evidence, EvidenceLog(ID, PARTITIONS), TERM)
    assert found == {TELEMETRY: Position(59, "3/7"), INTERNAL: Position(5, "3/7")}
    monkeypatch.setattr(reached_module, "RECORDS_MIN", 10)
    monkeypatch.setattr(reached_module, "RECORDS_MAX", 20)
    assert await reached_in(kafka.url, topics.evidence, EvidenceLog(ID, PARTITIONS), TERM) == {TELEMETRY: Position(59, "3/7")}


async def test_an_empty_log_says_nothing(kafka: Kafka, suffix: str) -> None:
    """The first worker of an installation starts where the term begins."""
    topics = Topics(f"empty-{suffix}.")
    await ensure(kafka.url, topics, Counts(evidence=PARTITIONS))
    assert await reached_in(kafka.url, topics.evidence, EvidenceLog(ID, PARTITIONS), TERM) == {}


async def test_a_broker_that_does_not_answer_says_nothing() -> None:
    """Reading starts where the term begins then, which is slower and as safe."""
    assert await reached_in(f"kafka://127.0.0.1:{free_port()}", "evidence", EvidenceLog(ID, PARTITIONS), TERM) == {}
