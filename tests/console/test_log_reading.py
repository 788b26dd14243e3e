"""`failshut log` on a real Kafka: from a time on, over all partitions, within its bounds, and on from there."""

from __future__ import annotations

import asyncio
import io
import json
import queue
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from typing import Any

import pytest
from confluent_kafka import Producer
from confluent_kafka.admin import AdminClient, NewPartitions, NewTopic
from console.console_support import Failshut
from console.decisions import DRIFT, START_MS, decision, encoded
from patience import patient

from failshut_breakers.decisions.decision import Kind
from failshut_console.exits import Trouble, unreachable
from failshut_console.local.state import Runtime
from failshut_console.monitor import decision_log
from failshut_console.monitor.decision_log import DecisionLog, Said
from failshut_console.terminal.gate_table import make_console
from failshut_console.terminal.telling import Question, tell
from failshut_servers import Kafka

PARTITIONS = 3
ALL = Question("", START_MS, 0, 1_000, follow=False, as_json=True)


class Topic:
    """A decisions topic of three partitions, written by hand."""

    def __init__(self, kafka: Kafka, suffix: str) -> None:
        self.url, self.bootstrap, self.prefix = kafka.url, kafka.bootstrap, f"log-{suffix}."
        self.name = f"{self.prefix}decisions"
        self.admin = AdminClient({"bootstrap.servers": kafka.bootstrap})
        # Its records bear times of long ago: without its setting, retention removes them whenever it looks.
        topic = NewTopic(self.name, PARTITIONS, 1, config={"retention.ms": "-1"})
        self.admin.create_topics([topic])[self.name].result(patient(30))
        self.producer = Producer({"bootstrap.servers": kafka.bootstrap, "linger.ms": 0, "log_level": 0})

    def write(self, partition: int, after_ms: int, value: bytes) -> None:
        """Write a record that was decided so long after the beginning."""
        self.producer.produce(self.name, value, partition=partition, timestamp=START_MS + after_ms)
        self.flush()

    def flush(self) -> None:
        assert self.producer.flush(patient(30)) == 0

    def happens(self, partition: int, after_ms: int, gate: str, kind: Kind = Kind.OPEN) -> None:
        """Let something happen to a gate."""
        more = DRIFT if kind is Kind.CLOSE else {}
        self.write(partition, after_ms, *encoded(decision(kind, after_ms, gate=gate, **more)))

    @property
    def at(self) -> Runtime:
        """Where it is."""
        return Runtime(broker=self.url, prefix=self.prefix)


@pytest.fixture
def topic(kafka: Kafka, suffix: str) -> Topic:
    return Topic(kafka, suffix)


def lines(out: str) -> list[dict[str, Any]]:
    return [json.loads(line) for line in out.splitlines()]


def gates(out: str) -> list[str]:
    return [said["gate"] for said in lines(out)]


def when(after_ms: int) -> str:
    """A time as --since takes it."""
    return time.strftime("%Y-%m-%dT%H:%M:%S", time.gmtime((START_MS + after_ms) / 1000)) + f".{after_ms % 1000:03d}Z"


def test_partitions_are_merged_by_time_between_two_times(topic: Topic, failshut: Failshut) -> None:
    """--since and --until count in every partition; renewals and other gates are left out; the newest is last."""
    for number in range(12):
        topic.happens(number % PARTITIONS, 1_000 * number, f"g{number}")
        topic.happens(number % PARTITIONS, 1_000 * number + 1, f"g{number}", Kind.RENEW)
    asked = ("log", "--broker", topic.url, "--prefix", topic.prefix)
    ended = failshut(*asked, "--json", "--since", when(3_000), "--until", when(9_000))
    assert (ended.status, ended.err) == (0, "")
    assert gates(ended.out) == [f"g{number}" for number in range(3, 9)]
    assert [said["time_ms"] for said in lines(ended.out)] == [START_MS + 1_000 * number for number in range(3, 9)]
    assert gates(failshut(*asked, "--json", "--since", when(0)).out) == [f"g{number}" for number in range(12)]
    assert gates(failshut(*asked, "--json", "--since", when(0), "g5").out) == ["g5"]
    drawn = failshut(*asked, "--since", when(3_000), "--until", when(9_000)).out.splitlines()
    assert [line.split()[1] for line in drawn] == ["gate", *(f"g{number}" for number in range(3, 9))]
    assert "opened" in drawn[1]


def test_nothing_is_said_as_nothing(topic: Topic, failshut: Failshut) -> None:
    """With how many decisions were read: of an empty topic, of another gate, of a later time."""
    asked = ("log", "--broker", topic.url, "--prefix", topic.prefix)
    assert "nothing happened since" in failshut(*asked).out
    topic.happens(0, 0, "g")
    ended = failshut(*asked, "--since", when(0), "other")
    assert (ended.status, ended.out.partition(" since")[0]) == (0, "nothing happened to other")
    assert "1 decisions were read" in ended.out
    assert failshut(*asked, "--since", when(0), "other", "--json").out == ""
    assert "0 decisions were read" in failshut(*asked, "--since", when(1)).out


def test_more_than_may_be_read_is_cut_and_said(topic: Topic, capsys: pytest.CaptureFixture[str]) -> None:
    """The oldest of the longest partition goes; what is shown is whole from a time on, and that time is said."""
    for number in range(20):
        topic.happens(0, 1_000 * number, f"long{number}")
    for number in (1, 18):
        topic.happens(1, 1_000 * number + 500, f"short{number}")
    tell(topic.at, ALL, read_max=12)
    said = capsys.readouterr()
    assert gates(said.out) == [*(f"long{number}" for number in range(10, 19)), "short18", "long19"]
    assert said.err.startswith("cut: 10 older decisions of this span were not read")
    assert when(10_000).replace(".000", "") in said.err
    tell(topic.at, ALL, read_max=22)
    said = capsys.readouterr()
    assert (len(lines(said.out)), said.err) == (22, "")


def test_more_than_may_be_shown_is_cut_and_said(topic: Topic, failshut: Failshut) -> None:
    """--last keeps the newest."""
    for number in range(6):
        topic.happens(number % PARTITIONS, number, f"g{number}")
    ended = failshut("log", "--broker", topic.url, "--prefix", topic.prefix, "--since", when(0), "--last", 2, "--json")
    assert gates(ended.out) == ["g4", "g5"]
    assert "cut: 4 older entries are not shown" in ended.err


def test_a_record_that_is_no_decision_hides_none(topic: Topic, failshut: Failshut) -> None:
    """It is counted on standard error, and what stands behind it is shown."""
    topic.write(0, 0, b"{")
    topic.happens(0, 1, "g")
    ended = failshut("log", "--broker", topic.url, "--prefix", topic.prefix, "--since", when(0), "--json")
    assert gates(ended.out) == ["g"]
    assert "1 records are no decisions" in ended.err


def test_no_such_topic_and_no_broker(kafka: Kafka, suffix: str, failshut: Failshut, free_port: Callable[[], int]) -> None:
    """Status 2 for a prefix that nobody has, status 3 where nobody answers; each with what to do."""
    ended = failshut("log", "--broker", kafka.url, "--prefix", f"none-{suffix}.")
    assert ended.status == 2
    assert f"no topic none-{suffix}.decisions" in ended.err
    assert "--prefix" in ended.err
    ended = failshut("log", "--broker", f"kafka://127.0.0.1:{free_port()}")
    assert ended.status == 3
    assert "does not answer" in ended.err
    assert "Traceback" not in ended.err


class Following:
    """`failshut log --follow --json` as a process."""

    def __init__(self, topic: Topic) -> None:
        command = [sys.executable, "-X", "faulthandler", "-m", "failshut_console", "log", "--follow", "--json"]
        command += ["--since", when(0), "--broker", topic.url, "--prefix", topic.prefix]
        self.process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE)
        self._lines: queue.Queue[bytes] = queue.Queue()
        threading.Thread(target=self._read, daemon=True).start()

    def _read(self) -> None:
        assert self.process.stdout is not None
        for line in self.process.stdout:
            self._lines.put(line)

    def next(self) -> dict[str, Any]:
        """The next line, once it is there."""
        try:
            said: dict[str, Any] = json.loads(self._lines.get(timeout=patient(60)))
        except queue.Empty:
            self.process.send_signal(signal.SIGABRT)  # Python's faulthandler then says where it stands
            assert self.process.stderr is not None
            raise AssertionError(f"no line came: {self.process.stderr.read().decode()}") from None
        return said


@pytest.fixture
def following(topic: Topic) -> Iterator[Following]:
    topic.happens(0, 0, "first")
    one = Following(topic)
    try:
        yield one
    finally:
        one.process.kill()
        one.process.wait(patient(30))


@pytest.mark.slow
def test_it_follows_until_it_is_interrupted(topic: Topic, following: Following) -> None:
    """What happens later comes by itself, from every partition, each once, and Ctrl-C is no error."""
    assert following.next()["gate"] == "first"
    for number in range(6):
        topic.happens(number % PARTITIONS, 1_000 + number, f"g{number}")
        topic.happens(number % PARTITIONS, 1_000 + number, f"g{number}", Kind.RENEW)
        topic.happens(number % PARTITIONS, 1_000 + number, f"g{number}")  # a second governor says it, too
    assert {following.next()["gate"] for _ in range(6)} == {f"g{number}" for number in range(6)}
    topic.happens(1, 5_000, "g1", Kind.CLOSE)
    closing = following.next()
    assert (closing["gate"], closing["what"], closing["cause"]) == ("g1", "closed", "drift")
    following.process.send_signal(signal.SIGINT)
    assert following.process.wait(patient(30)) == 0
    assert following.process.stderr is not None
    assert following.process.stderr.read() == b""


async def _followed(topic: Topic, told: list[str], until: Callable[[list[Said]], bool]) -> list[Said]:
    found: list[Said] = []
    async with asyncio.timeout(patient(40)), DecisionLog(topic.url, topic.prefix) as log:
        span = await log.span(START_MS, 0, 100)
        async for records in log.follow(span.ends, told.append):
            found += records
            if until(found):
                break
    return found


async def test_a_partition_that_is_added_is_followed(topic: Topic, monkeypatch: pytest.MonkeyPatch) -> None:
    """Gates move to it: what happens there is not missed, and nothing comes twice."""
    monkeypatch.setattr(decision_log, "LOOK_SECONDS", 0.5)
    topic.happens(0, 0, "old")
    async with asyncio.timeout(patient(60)), DecisionLog(topic.url, topic.prefix) as log:
        span = await log.span(START_MS, 0, 100)
        assert [said.offset async for said in log.read(span)] == [0]
        grown = topic.admin.create_partitions([NewPartitions(topic.name, PARTITIONS + 1)])
        grown[topic.name].result(patient(30))
        found: list[tuple[int, int]] = []
        await asyncio.to_thread(_write_to_the_new_one, topic)
        async for records in log.follow(span.ends, lambda line: None):
            found += [(said.partition, said.offset) for said in records]
            if len(found) >= 2:
                break
    assert sorted(found) == [(0, 1), (PARTITIONS, 0)]


def _write_to_the_new_one(topic: Topic) -> None:
    # The other producer knows three partitions.
    topic.producer = Producer({"bootstrap.servers": topic.bootstrap, "linger.ms": 0, "log_level": 0})
    topic.happens(0, 1, "old")
    topic.happens(PARTITIONS, 2, "new")


@pytest.mark.slow
async def test_a_broker_that_goes_away_is_said_once_and_asked_again(topic: Topic, monkeypatch: pytest.MonkeyPatch) -> None:
    """Silence is not taken for peace: whoever follows is told, and told again when it answers."""
    monkeypatch.setattr(decision_log, "LOOK_SECONDS", 0.1)
    asked = 0
    look = DecisionLog._take_up_new_partitions

    async def away(self: DecisionLog) -> None:
        nonlocal asked
        asked += 1
        if asked <= 3:
            raise unreachable("Kafka does not answer", "start it")
        await look(self)
        if asked == 5:
            await asyncio.to_thread(topic.happens, 0, 1, "g")

    monkeypatch.setattr(DecisionLog, "_take_up_new_partitions", away)
    told: list[str] = []
    assert len(await _followed(topic, told, bool)) == 1
    assert [line.partition(":")[0] for line in told] == ["Kafka does not answer", "the broker answers again"]


async def test_a_broker_that_yields_nothing_ends_the_reading(topic: Topic, monkeypatch: pytest.MonkeyPatch) -> None:
    """A partition whose records do not come is no short log: status 3 within a bound."""
    topic.happens(0, 0, "g")
    monkeypatch.setattr(decision_log, "SILENT_SECONDS_MAX", 1.5)
    async with DecisionLog(topic.url, topic.prefix) as log:
        span = await log.span(START_MS, 0, 100)
        span.ends[next(iter(span.ends))] += 5  # records that never come
        with pytest.raises(Trouble) as trouble:
            _ = [said async for said in log.read(span)]
    assert trouble.value.status == 3


class Gone(io.StringIO):
    """A reader that has what it wanted."""

    def write(self, text: str) -> int:
        raise BrokenPipeError


def test_a_reader_that_goes_away_is_no_failure() -> None:
    """`failshut log | head` ends as `--json | head` does: main.py ends it with status 0."""
    console = make_console()
    console.file = Gone()
    with pytest.raises(BrokenPipeError):
        console.print("x")
