"""The ledger follows a decisions topic of a real Kafka: nothing is missing, nothing is twice, and a gap is said by name."""

from __future__ import annotations

import asyncio
import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from confluent_kafka import Producer, TopicPartition
from confluent_kafka.admin import AdminClient, NewPartitions, NewTopic
from console.decisions import DRIFT, decision, encoded
from ledger.witness_support import WITNESS, make_witness, running, until
from ledger.writing import KEY, on_disk
from patience import patient

from failshut_breakers.decisions.decision import Kind
from failshut_console.ledger.feed import Feed, NoTopic
from failshut_ledger.disk.check import check_tree
from failshut_ledger.disk.files import COSIGNED, FORK, Files
from failshut_ledger.disk.writer import create_ledger, open_ledger
from failshut_ledger.errors import Gap
from failshut_ledger.leaves.chain import KeyChain
from failshut_ledger.leaves.envelope import split_envelope
from failshut_ledger.leaves.statement import read_statement
from failshut_ledger.notes.keys import Signer
from failshut_servers import Kafka


class Topic:
    """A decisions topic, written by hand, and a ledger that follows it."""

    def __init__(self, kafka: Kafka, suffix: str, folder: Path) -> None:
        self.kafka, self.prefix, self.folder = kafka, f"ledger-{suffix}.", folder
        self.name = f"{self.prefix}decisions"
        self.admin = AdminClient({"bootstrap.servers": kafka.bootstrap})
        self.producer = Producer({"bootstrap.servers": kafka.bootstrap, "linger.ms": 5, "log_level": 0})
        self.sent: list[tuple[int, bytes]] = []
        self.began: dict[str, Any] = {}
        self.make()

    def make(self, partitions: int = 2) -> None:
        self.admin.create_topics([NewTopic(self.name, partitions, 1)])[self.name].result(patient(30))

    def decide(self, count: int, partition: int = 0, copies: int = 1) -> None:
        """Let a gate be closed so often; each decision may be said more than once."""
        for _ in range(count):
            value = encoded(decision(Kind.CLOSE, len(self.sent), gate=f"g{partition}", **DRIFT))[0]
            self.sent.append((partition, value))
            for _ in range(copies):
                self.producer.produce(self.name, value, partition=partition)
        assert self.producer.flush(patient(30)) == 0

    def drop_before(self, partition: int, offset: int) -> None:
        """Let retention take what stands before an offset."""
        place = TopicPartition(self.name, partition, offset)
        self.admin.delete_records([place])[place].result(patient(30))

    async def followed(self, until: Callable[[int], bool]) -> None:
        """Follow the topic until the ledger has so many leaves."""
        with open_ledger(self.folder, KEY) as writer:
            stop = asyncio.Event()
            running = asyncio.create_task(Feed(writer, KEY, self.kafka.url, self.prefix).run(stop))
            try:
                async with asyncio.timeout(patient(60)):
                    while not until(writer.checkpoint.size) and not running.done():
                        await asyncio.sleep(0.05)
            finally:
                stop.set()
                await asyncio.wait_for(running, patient(30))

    def records(self) -> list[dict[str, Any]]:
        """What the ledger holds of the topic, verified whole: each statement's predicate, with its digest."""
        chain, found = KeyChain([KEY.verifier]), []

        def taken(index: int, leaf: bytes) -> None:
            chain.take(index, leaf)
            statement = read_statement(split_envelope(leaf)[0])
            found.append({**statement.predicate, "digest": statement.digest})

        check_tree(Files(self.folder), on_disk(self.folder), taken)
        self.began = found.pop(0)
        assert self.began["kind"] == "begin"
        return found

    def is_whole(self) -> None:
        """Fail unless each partition's decisions are in the ledger, in order and once each."""
        said = self.records()
        for partition in {partition for partition, _ in self.sent}:
            wanted = [number for number, (at, _) in enumerate(self.sent) if at == partition]
            assert [one["evidence"]["offset"] for one in said if one["record"]["partition"] == partition] == wanted
        assert len(said) == len(self.sent)


@pytest.fixture
def topic(kafka: Kafka, suffix: str, tmp_path: Path) -> Topic:
    create_ledger(tmp_path / "ledger", KEY)
    return Topic(kafka, suffix, tmp_path / "ledger")


async def test_what_is_decided_is_written_over_restarts(topic: Topic) -> None:
    """Two partitions, several runs, copies of a standby, a record that is no decision, a partition that is added."""
    topic.decide(30, 0, copies=2)
    topic.decide(20, 1)
    await topic.followed(lambda size: size >= 51)
    topic.is_whole()
    topic.decide(3, 1, copies=2)
    topic.decide(4, 0)
    await topic.followed(lambda size: size >= 58)
    topic.is_whole()
    topic.producer.produce(topic.name, b"not a decision", partition=1)
    topic.admin.create_partitions([NewPartitions(topic.name, 3)])[topic.name].result(patient(30))
    topic.decide(2, 0)
    await topic.followed(lambda size: size >= 61)
    assert [one["kind"] for one in topic.records()].count("unreadable") == 1
    position = on_disk(topic.folder).position
    assert position is not None
    assert (position.topic, sum(position.offsets.values())) == (topic.name, 60 + 20 + 6 + 4 + 1 + 2)


async def test_a_ledger_begins_where_the_topic_begins(topic: Topic) -> None:
    """What retention took before there was a ledger is not in it, and its first leaf says from where on it is whole."""
    topic.decide(10)
    topic.drop_before(0, 4)
    await topic.followed(lambda size: size >= 7)
    said = topic.records()
    assert [one["record"]["offset"] for one in said] == [4, 5, 6, 7, 8, 9]
    assert topic.began["offsets"] == {"0": 4, "1": 0}


async def test_a_gap_is_said_by_name_and_nothing_is_written_behind_it(topic: Topic) -> None:
    """The topic no longer holds what comes next: partition and offsets are named, and the ledger stays as it was."""
    topic.decide(5)
    await topic.followed(lambda size: size >= 6)
    before = on_disk(topic.folder)
    topic.decide(5)
    topic.drop_before(0, 8)
    with pytest.raises(Gap, match=r"decisions/0 begins at 8 and the ledger comes next to 5: 3 decisions are gone"):
        await topic.followed(lambda size: size >= 7)
    assert on_disk(topic.folder) == before


async def test_a_gap_that_comes_while_it_runs_stops_it(topic: Topic, monkeypatch: pytest.MonkeyPatch) -> None:
    """Retention that overtakes a running ledger, after it has looked where the topic begins, is a gap as well."""
    topic.decide(3)
    assign = Feed._assign

    def overtaken(self: Feed, places: list[Any]) -> None:
        topic.drop_before(0, 2)  # before the first fetch: what is fetched already is no longer Kafka's to take
        assign(self, places)

    monkeypatch.setattr(Feed, "_assign", overtaken)
    with pytest.raises(Gap, match=r"begins at 2 and the ledger comes next to 0: 2 decisions are gone"):
        await topic.followed(lambda size: size >= 4)
    assert on_disk(topic.folder).size == 1  # the leaf that it began with


async def test_another_topic_of_the_same_name_is_refused(topic: Topic) -> None:
    """Offsets of a topic that was deleted and made again mean nothing: its id is in every checkpoint."""
    topic.decide(3)
    await topic.followed(lambda size: size >= 4)
    topic.admin.delete_topics([topic.name])[topic.name].result(patient(30))
    with pytest.raises(Gap, match="gone"):
        await topic.followed(lambda size: size >= 5)
    async with asyncio.timeout(patient(30)):
        while topic.name in topic.admin.list_topics(timeout=patient(10)).topics:
            await asyncio.sleep(0.1)
    topic.make()
    topic.decide(9)
    with pytest.raises(Gap, match="offsets of one mean nothing in the other"):
        await topic.followed(lambda size: size >= 5)
    assert on_disk(topic.folder).size == 4


async def test_a_monitor_that_is_not_there_is_said(topic: Topic) -> None:
    """A wrong prefix is not an empty topic, and begins no ledger."""
    topic.prefix = "nobody."
    with pytest.raises(NoTopic, match=r"nobody\.decisions"):
        await topic.followed(lambda size: size >= 1)
    assert on_disk(topic.folder).position is None


def test_a_fork_stops_the_command(topic: Topic, tmp_path: Path) -> None:
    """`failshut ledger run --witnesses` on a ledger that was rolled back ends with status 1, and writes nothing more."""
    key, trust = tmp_path / "ledger.key", tmp_path / "trust.policy"
    key.write_text(KEY.secret())
    make_witness(tmp_path / "w", WITNESS)
    shutil.copytree(topic.folder, tmp_path / "yesterday")
    topic.decide(20)
    command = [sys.executable, "-m", "failshut_console", "ledger", "run", str(topic.folder), "--key", str(key)]
    command += ["--broker", topic.kafka.url, "--prefix", topic.prefix, "--witnesses", str(trust)]
    environment = {name: value for name, value in os.environ.items() if not name.startswith("FAILSHUT_")}
    with running(tmp_path / "w") as witness:
        trust.write_text(f"log {KEY.verifier}\nwitness w {WITNESS.verifier} {witness.url}\nquorum w\n")
        process = subprocess.Popen(command, env=environment, cwd=tmp_path)
        try:
            until(lambda: b"\n21\n" in _there(topic.folder / COSIGNED), "all of it is cosigned", 90)
            process.send_signal(signal.SIGTERM)
            assert process.wait(patient(30)) == 0
        finally:
            process.kill()
            process.wait()
        shutil.rmtree(topic.folder)
        (tmp_path / "yesterday").rename(topic.folder)
        again = subprocess.Popen(command, env=environment, cwd=tmp_path, stderr=subprocess.PIPE, text=True)
        try:
            until(lambda: (topic.folder / FORK).exists(), "the witness shows what was signed", 90)
            topic.decide(1)
            _, said = again.communicate(timeout=patient(60))
        finally:
            again.kill()
    assert again.returncode == 1
    assert "has signed another tree" in said


def test_witnesses_that_cannot_be_asked_hold_up_nothing(topic: Topic, tmp_path: Path) -> None:
    """A policy of another log ends the asking, which is said; the writer writes all of it, and ends as ever."""
    key, trust = tmp_path / "ledger.key", tmp_path / "trust.policy"
    key.write_text(KEY.secret())
    other = Signer.generate("another.example")
    trust.write_text(f"log {other.verifier}\nwitness w {WITNESS.verifier} http://127.0.0.1:1\nquorum w\n")
    command = [sys.executable, "-m", "failshut_console", "ledger", "run", str(topic.folder), "--key", str(key)]
    command += ["--broker", topic.kafka.url, "--prefix", topic.prefix, "--witnesses", str(trust)]
    topic.decide(30)
    environment = {name: value for name, value in os.environ.items() if not name.startswith("FAILSHUT_")}
    process = subprocess.Popen(command, env=environment, cwd=tmp_path, stderr=subprocess.PIPE, text=True)
    try:
        until(lambda: on_disk(topic.folder).size == 31, "all of it is written", 90)
        topic.decide(5)
        until(lambda: on_disk(topic.folder).size == 36, "it goes on", 90)
        process.send_signal(signal.SIGTERM)
        _, said = process.communicate(timeout=patient(30))
    finally:
        process.kill()
    assert process.returncode == 0
    assert "no witness is asked any more" in said


def _there(path: Path) -> bytes:
    return path.read_bytes() if path.exists() else b""


def test_the_command_is_killed_and_goes_on(topic: Topic, tmp_path: Path) -> None:
    """`failshut ledger run` under SIGKILL while decisions come: whole after the next run, which SIGTERM ends with status 0."""
    key = tmp_path / "ledger.key"
    key.write_text(KEY.secret())
    command = [sys.executable, "-m", "failshut_console", "ledger", "run", str(topic.folder), "--key", str(key)]
    command += ["--broker", topic.kafka.url, "--prefix", topic.prefix]
    environment = {name: value for name, value in os.environ.items() if not name.startswith("FAILSHUT_")}

    def waited(process: subprocess.Popen[bytes], size: int) -> None:
        end = time.monotonic() + patient(60)
        while on_disk(topic.folder).size < size:
            assert process.poll() is None, "the command has ended"
            assert time.monotonic() < end, on_disk(topic.folder)
            time.sleep(0.05)

    for _ in range(2):
        process = subprocess.Popen(command, env=environment, cwd=tmp_path)
        try:
            topic.decide(40)
            waited(process, on_disk(topic.folder).size + 1)
            topic.decide(300, 1)
        finally:
            process.kill()
            process.wait()
    process = subprocess.Popen(command, env=environment, cwd=tmp_path)
    try:
        waited(process, len(topic.sent) + 1)
        process.send_signal(signal.SIGTERM)
        assert process.wait(patient(30)) == 0
    finally:
        process.kill()
        process.wait()
    topic.is_whole()
