"""What is decided reaches the store in order: the newest of each gate, closings first, nothing lost by an answer that was."""

from __future__ import annotations

import asyncio
import dataclasses
from collections.abc import Callable, Iterable
from typing import Any

import pytest
from aiokafka.errors import KafkaTimeoutError
from monitor.harness import until
from patience import patient

from failshut.cause import Cause
from failshut.epoch import epoch_of
from failshut.seal import Seal, name_of
from failshut.signing import SigningKey
from failshut.store.names import Names
from failshut_breakers.decisions.decision import Breaker, Decision, Kind, decode_decision
from failshut_breakers.decisions.permits import LIFE_MS, Statement
from failshut_breakers.store.client import Sealed, Store, StoreUnreachable
from failshut_servers import Valkey
from failshut_streams.governor.effects import WRITES_MAX, Effects, wall_ms
from failshut_streams.governor.refusals import REPEATED
from failshut_streams.metrics import Metrics

NOW_MS = 1_700_000_000_000
KEY = SigningKey.generate()


def decision(kind: Kind = Kind.RENEW, gate: str = "pay", offset: int = 10, **more: Any) -> Decision:
    """A decision of a record; what opens expires two seconds from now."""
    opens = kind in (Kind.OPEN, Kind.RENEW)
    fields: dict[str, Any] = {
        "schema": 2,
        "installation": "i" * 32,
        "kind": kind,
        "gate": gate,
        "epoch": epoch_of(1, 1),
        "partition": 0,
        "offset": offset,
        "breaker": Breaker.ARMED,
        "cause": None if opens else Cause.DRIFT,
        "because": "a test",
        "evidence_ms": NOW_MS,
        "policy": "sha256:0",
        "mode": "armed" if opens else "",
        "exp_ms": NOW_MS + 2_000 if opens else 0,
        "ttl_ms": 2_000,
        "in_flight": "cancel",
        "origin": None,
        "readings": [],
        "subjects": ["*"],
        "operations": ["*"],
        "context": {},
        "tokens": 0,
        "probe_epoch": "",
        "by": "",
    }
    return Decision(**{**fields, **more})


class Answers:
    """A store whose answers a test decides: it notes what it was given; `lost` answers come too late, `applied` or not."""

    def __init__(self) -> None:
        self.given: list[list[Statement]] = []
        self.sealed: list[Seal] = []
        self.order: list[str] = []
        self.how = "written"
        self.lost = 0
        self.during: Callable[[], Any] = lambda: None

    async def write(self, pairs: Iterable[tuple[Statement, bytes]]) -> list[bool]:
        pairs = list(pairs)
        if not pairs:
            return []
        self.given.append([statement for statement, _ in pairs])
        self.order.append("statements")
        self.during()
        await asyncio.sleep(0)
        if self.lost:
            self.lost -= 1
            raise StoreUnreachable("the answer was lost")
        return [True] * len(pairs)

    async def write_seals(self, pairs: Iterable[tuple[Seal, str]]) -> list[Sealed]:
        pairs = list(pairs)
        await asyncio.sleep(0)
        if self.lost:
            self.lost -= 1
            raise StoreUnreachable("the answer was lost")
        self.sealed += [seal for seal, _ in pairs]
        self.order.append("seals")
        return [Sealed(self.how, "") for _ in pairs]


class Records:
    """A producer: acknowledged at once, or failing."""

    def __init__(self) -> None:
        self.values: list[bytes] = []
        self.error: Exception | None = None

    async def send(self, topic: str, value: bytes, *, key: bytes, partition: int | None) -> asyncio.Future[object]:
        self.values.append(value)
        sent: asyncio.Future[object] = asyncio.get_running_loop().create_future()
        if self.error:
            sent.set_exception(self.error)
        else:
            sent.set_result(None)
        return sent


def made(store: Any = None, clock_ms: int = NOW_MS) -> tuple[Effects, Any, Records]:
    store, records = store or Answers(), Records()
    return Effects(store, KEY, records, "decisions", Metrics(), lambda: clock_ms), store, records


def written(store: Answers) -> list[list[tuple[str, str, int]]]:
    return [[(it.gate, it.kind, it.offset) for it in batch] for batch in store.given]


async def test_only_the_newest_of_each_gate_is_written() -> None:
    """A closing takes the place of a permit that waits, and the reverse."""
    effects, store, _ = made()
    await effects.take([decision(offset=1), decision(Kind.CLOSE, offset=2)])
    await effects.take([decision(Kind.CLOSE, "two", 3), decision(Kind.OPEN, "two", 4), decision(Kind.NOTE, "two", 5)])
    await effects.write_pending()
    assert written(store) == [[("pay", "closing", 2), ("two", "permit", 4)]]


async def test_closings_go_first() -> None:
    """However many renewals wait, a closing is in the next round trip."""
    effects, store, _ = made()
    await effects.take(decision(gate=f"g{n}") for n in range(WRITES_MAX + 10))
    await effects.take([decision(Kind.CLOSE, "last")])
    await effects.write_pending()
    await effects.write_pending()
    assert written(store)[0][0][0] == "last"
    assert [len(batch) for batch in store.given] == [WRITES_MAX, 11]


async def test_a_lost_answer_loses_no_closing() -> None:
    """What was not answered is written again until it is."""
    effects, store, _ = made()
    await effects.take([decision(Kind.CLOSE)])
    store.lost = 2
    for _ in range(2):
        with pytest.raises(StoreUnreachable):
            await effects.write_pending()
        assert effects.waits(["pay"])
    await effects.write_pending()
    assert not effects.waits(["pay"])
    assert written(store) == [[("pay", "closing", 10)]] * 3


async def test_an_older_permit_does_not_overtake_a_closing() -> None:
    """A closing that comes while a permit is being written stays, whether that is answered or not."""
    for lost in (0, 1):
        effects, store, _ = made()
        await effects.take([decision(offset=1)])
        closing = decision(Kind.CLOSE, offset=2)
        store.during, store.lost = lambda effects=effects, closing=closing: effects._pending.update(pay=closing), lost
        try:
            await effects.write_pending()
        except StoreUnreachable:
            assert lost
        store.during = lambda: None
        assert effects.waits(["pay"])
        await effects.write_pending()
        assert written(store)[1:] == [[("pay", "closing", 2)]]


async def test_a_closing_waits_while_it_is_under_way() -> None:
    """Until the store has answered, a snapshot must not pass it."""
    effects, store, _ = made()
    await effects.take([decision(Kind.CLOSE)])
    seen: list[bool] = []
    store.during = lambda: seen.append(effects.waits(["pay"]))
    await effects.write_pending()
    assert seen == [True]


@pytest.mark.parametrize("clock_ms", [NOW_MS + 2_000, NOW_MS + 60_000, NOW_MS - 1], ids=["at-its-end", "lapsed", "future"])
async def test_what_opens_nothing_is_not_signed(clock_ms: int) -> None:
    """A permit that has lapsed by now, or whose evidence lies in this clock's future, is dropped, and a closing never is."""
    effects, store, _ = made(clock_ms=clock_ms)
    await effects.take([decision(mode="proving"), decision(Kind.CLOSE, gate="two")])
    await effects.write_pending()
    assert written(store) == [[("two", "closing", 10)]]
    assert not effects._pending


@pytest.mark.parametrize(("mode", "life_ms"), [("proving", 2_000), ("bypass", 2_000), ("armed", LIFE_MS)])
async def test_a_permit_with_life_left_is_signed(mode: str, life_ms: int) -> None:
    """One millisecond before its end, and at the very time of its evidence. Seals say whether a long one counts."""
    for clock_ms in (NOW_MS + life_ms - 1, NOW_MS):
        effects, store, _ = made(clock_ms=clock_ms)
        await effects.take([decision(mode=mode)])
        await effects.write_pending()
        assert written(store) == [[("pay", "permit", 10)]]


@pytest.mark.parametrize(
    ("fence", "words"),
    [
        ({"epoch": "z", "offset": "z", "kind": "closing"}, "was written by no monitor"),
        ({"epoch": epoch_of(9, 7), "offset": f"{7:016d}", "kind": "permit"}, "of term 9"),
        ({"epoch": epoch_of(1, 2**39), "offset": f"{2**40 - 1:016d}", "kind": "permit"}, "does not move"),
    ],
    ids=["foreign", "later-term", "ahead"],
)
async def test_a_refusal_that_repeats_is_said_by_name(
    store: Valkey, fence: dict[Any, Any], words: str, caplog: pytest.LogCaptureFixture
) -> None:
    """Once in the log, in what a worker reports, and no more once the gate is written."""
    async with Store(store.url) as there:
        effects, _, _ = made(there)
        await there._redis.hset(Names("i" * 32).fence("pay"), mapping=fence)
        for offset in range(10, 10 + 2 * REPEATED):
            await effects.take([decision(offset=offset)])
            await effects.write_pending()
        (said,) = [record.getMessage() for record in caplog.records if "refuses pay" in record.getMessage()]
        assert words in said
        assert effects.refusals.words == {"pay": said}
        assert await there.clear_fence(Names("i" * 32), "pay", fence["epoch"])
        await effects.take([decision(offset=99)])
        await effects.write_pending()
        assert effects.refusals.words == {}


async def test_a_standby_that_is_behind_is_not_strange(store: Valkey, caplog: pytest.LogCaptureFixture) -> None:
    """Its permits are refused by a fence that moves on, and closings of long ago by one that need not: nobody is told."""
    async with Store(store.url) as there:
        effects, _, _ = made(there)
        for offset in range(10, 40):
            ahead: dict[Any, Any] = {"epoch": epoch_of(1, 5), "offset": f"{offset + 5:016d}", "kind": "permit"}
            await there._redis.hset(Names("i" * 32).fence("pay"), mapping=ahead)
            old = decision(Kind.CLOSE, offset=offset, evidence_ms=NOW_MS - 3_600_000)
            await effects.take([decision(offset=offset) if offset % 2 else old])
            await effects.write_pending()
        assert effects.refusals.words == {}
        assert not [record for record in caplog.records if "refuses" in record.getMessage()]


async def test_a_gate_that_nobody_speaks_of_is_let_go_once_it_is_written() -> None:
    """Its closing waits for the store; then nothing is kept of it."""
    effects, _, _ = made()
    await effects.take([decision(Kind.CLOSE)])
    effects.forget_written(["pay"])
    assert effects.waits(["pay"])
    await effects.write_pending()
    effects.forget_written(["pay"])
    assert effects.last == {}


async def test_probe_tokens_outlive_the_permit_that_brought_them() -> None:
    """A renewal that takes the place of an unwritten PROVING permit brings its tokens; another PROVING's do not stay."""
    effects, store, records = made()
    first = decision(Kind.OPEN, offset=1, mode="proving", tokens=3, probe_epoch="e1")
    await effects.take([first, decision(offset=2, mode="proving", probe_epoch="e1")])
    await effects.write_pending()
    assert [(it.offset, len(it.tokens)) for it in store.given[-1]] == [(2, 3)]
    await effects.take([first, decision(offset=3, mode="proving", probe_epoch="e2")])
    await effects.write_pending()
    assert [(it.offset, len(it.tokens)) for it in store.given[-1]] == [(3, 0)]
    assert [decode_decision(value).tokens for value in records.values] == [3, 0, 3, 0]


@pytest.mark.parametrize("lost", [[], ["pay"]], ids=["", "the store loses the gate meanwhile"])
@pytest.mark.parametrize("evidence_ms", [NOW_MS - 2_500, NOW_MS + 60_000], ids=["lapsed", "ahead of this clock"])
async def test_probe_tokens_outlive_a_permit_that_could_not_be_signed(evidence_ms: int, lost: list[str]) -> None:
    """A worker that lags drops the PROVING permit itself. No token was handed out: its renewal brings them."""
    effects, store, _ = made()
    useless: dict[str, Any] = {"evidence_ms": evidence_ms, "exp_ms": evidence_ms + 2_000}
    useless |= {"mode": "proving", "probe_epoch": "e1"}
    for between in ((), [decision(Kind.CLOSE, offset=3)], [decision(Kind.OPEN, offset=3)]):
        for lapsed in (decision(Kind.OPEN, offset=1, tokens=3, **useless), decision(offset=2, **useless)):
            await effects.take([lapsed])
            await effects.write_pending()
        effects.write_again(lost)
        await effects.take([*between, decision(offset=4, probe_epoch="e1")])
        await effects.write_pending()
        await effects.take([decision(offset=5, probe_epoch="e1")])
        await effects.write_pending()
    assert [(it.offset, len(it.tokens)) for given in store.given for it in given] == [(4, 3), (5, 0)] + [(4, 0), (5, 0)] * 2


async def test_what_is_not_on_record_is_noticed() -> None:
    """A decisions topic that does not take a decision fails `settle`, and so the snapshot behind it."""
    effects, _, records = made()
    records.error = KafkaTimeoutError("expired")
    await effects.take([decision(Kind.CLOSE)])
    with pytest.raises(KafkaTimeoutError):
        await effects.settle()


async def test_what_is_on_its_way_is_bounded() -> None:
    """More decisions than a bound wait for the decisions topic's acknowledgement."""
    effects, _, records = made()
    for n in range(3 * WRITES_MAX):
        await effects.take([decision(Kind.NOTE, offset=n)])
    assert len(effects._sends) <= WRITES_MAX
    assert len(records.values) == 3 * WRITES_MAX


async def test_gates_of_another_worker_are_forgotten() -> None:
    """Nothing of theirs is written any more, not even when the store has lost them."""
    effects, store, _ = made()
    await effects.take([decision(Kind.CLOSE)])
    effects.forget(["pay"])
    effects.write_again(["pay"])
    await effects.write_pending()
    assert store.given == []
    assert effects.last == {}


async def test_writing_goes_on_after_the_store_comes_back() -> None:
    """The loop outlives a store that does not answer, and says so."""
    effects, store, _ = made()
    store.lost = 3
    loop = asyncio.create_task(effects.write_regularly())
    try:
        await effects.take([decision(Kind.CLOSE)])
        async with asyncio.timeout(patient(20)):
            while effects.reachable:
                await asyncio.sleep(0.01)
            while effects.waits(["pay"]) or not effects.reachable:
                await asyncio.sleep(0.01)
    finally:
        loop.cancel()
        await asyncio.gather(loop, return_exceptions=True)
    assert len(store.given) == 4


async def test_a_flushed_store_gets_the_closing_back(store: Valkey) -> None:
    """Written again, it is the same closing; an older permit that is written again does not take its place."""
    async with Store(store.url) as there:
        effects, _, _ = made(there)
        await effects.take([decision(Kind.CLOSE, offset=7)])
        await effects.write_pending()
        record = await there._redis.get(Names("i" * 32).record("pay"))
        await there._redis.flushall()
        effects.write_again(["pay", "never-heard-of"])
        await effects.write_pending()
        assert await there._redis.get(Names("i" * 32).record("pay")) == record is not None
        older, _, _ = made(there)
        await older.take([decision(offset=6)])
        await older.write_pending()
        assert await there._redis.get(Names("i" * 32).record("pay")) == record


# --- seals ---


def seal_at(offset: int, partition: int = 0, evidence_ms: int = NOW_MS) -> Seal:
    """A seal of one gate."""
    name = name_of("pay", epoch_of(1, 1), "sha256:0", "armed")
    return Seal.of("i" * 32, partition, 1, offset, evidence_ms + 2_000, [(evidence_ms, name)])


async def test_the_newest_seal_of_each_partition_is_written_behind_the_permits() -> None:
    """A seal that waits gives way to a newer one, and a guard finds the permit where it finds the seal that names it."""
    effects, store, _ = made()
    effects.take_seal(seal_at(9))
    await effects.take([decision()])
    effects.take_seal(seal_at(10))
    effects.take_seal(seal_at(7, partition=3))
    writing = asyncio.create_task(effects.write_regularly())
    await until(lambda: len(store.sealed) == 2, "both partitions are sealed")
    writing.cancel()
    assert sorted((seal.partition, seal.offset) for seal in store.sealed) == [(0, 10), (3, 7)]
    assert store.order[:2] == ["statements", "seals"]
    assert not effects._seals


async def test_a_seal_whose_answer_was_lost_is_written_again_unless_a_newer_one_came() -> None:
    """The newest is what is written."""
    effects, store, _ = made()
    store.lost = 1
    effects.take_seal(seal_at(9))
    with pytest.raises(StoreUnreachable):
        await effects.write_seals()
    assert effects._seals
    effects.take_seal(seal_at(10))
    await effects.write_seals()
    assert [seal.offset for seal in store.sealed] == [10]


@pytest.mark.parametrize("evidence_ms", [NOW_MS + 1, NOW_MS - 2_000], ids=["future", "over"])
async def test_a_seal_of_the_future_or_one_that_is_over_is_not_signed(evidence_ms: int) -> None:
    """I2: a clock that is behind seals nothing, and what ended helps nobody."""
    effects, store, _ = made()
    effects.take_seal(seal_at(9, evidence_ms=evidence_ms))
    await effects.write_seals()
    assert store.sealed == []
    assert not effects._seals


async def test_a_seal_that_differs_is_said_once(caplog: pytest.LogCaptureFixture) -> None:
    """Two monitors that decide differently: the words name the partition."""
    effects, store, _ = made()
    store.how = "differs"
    for offset in range(9, 13):
        effects.take_seal(seal_at(offset))
        await effects.write_seals()
    assert len([record for record in caplog.records if "Two monitors decide differently" in record.getMessage()]) == 1


async def test_what_a_restored_governor_last_said_can_be_said_again_without_its_tokens() -> None:
    """A flushed store gets everything back but probe tokens, which are said once."""
    effects, store, _ = made()
    effects.adopt([decision(mode="proving", tokens=3, probe_epoch=epoch_of(1, 1)), decision(gate="two")])
    effects.write_again(["pay", "two"])
    await effects.write_pending()
    assert sorted((one.gate, one.tokens) for one in store.given[0]) == [("pay", ()), ("two", ())]


async def test_seals_in_a_store_move_forward_alone(store: Valkey) -> None:
    """An older seal, one of a term that is over and another one of the same position leave the newest as it is."""
    names = Names("i" * 32)
    async with Store(store.url) as there:
        now_ms = wall_ms()
        seals = [seal_at(offset, evidence_ms=now_ms + 60_000) for offset in (10, 9, 10, 11)]
        tokens = [seal.sign(KEY) for seal in seals]
        assert [one.how for one in await there.write_seals(zip(seals[:3], tokens[:3], strict=True))] == [
            "written",
            "older",
            "written",
        ]
        assert [one.how for one in await there.write_seals([(seals[0], "another")])] == ["differs"]
        assert (await there.write_seals([(seals[3], tokens[3])]))[0] == ("written", seals[0].position)
        assert await there._redis.get(names.seal(0)) == tokens[3].encode()
        assert 0 < await there._redis.pttl(names.seal(0)) <= 62_000
        later = dataclasses.replace(seals[0], term=2, offset=1)
        other = dataclasses.replace(seals[3], offset=99, partition=5)
        assert [one.how for one in await there.write_seals([(later, later.sign(KEY)), (other, other.sign(KEY))])] == [
            "written",
            "older",
        ]
        assert await there._redis.get(names.term) == b"2"
        for garbage in (b"z", b"9" * 400):
            await there._redis.set(names.sealed(0), garbage)
            await there._redis.set(names.term, garbage)
            assert (await there.write_seals([(later, later.sign(KEY))]))[0].how == "written"
