"""What follows from decisions: statements in the store, records in the decisions topic.

Decisions may arrive faster than the store answers, so only the newest statement of each gate is kept. If the
store is slow or down, permits are not renewed and lapse. A governor is never delayed. A closing waits until it
is written, or until a newer decision takes its place; closings go first. What is pending is bounded by the
number of gates.
"""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Callable, Iterable

import msgspec
from aiokafka import AIOKafkaProducer

from failshut.seal import Seal
from failshut.signing import SigningKey
from failshut_breakers.decisions.decision import Decision, Kind, encode_decision
from failshut_breakers.decisions.permits import FutureEvidence, Statement, ends_ms, statement_of
from failshut_breakers.store.client import Answer, Sealed, Store, StoreUnreachable
from failshut_streams.governor.refusals import OLDER, Refusals
from failshut_streams.logs.episode import Episode
from failshut_streams.metrics import Metrics

logger = logging.getLogger(__name__)

RETRY_SECONDS = 0.1
TAIL_CHARS = 16
"""So many characters at the end of a statement, a part of its signature, tell whether it is the one in the store."""
WRITES_MAX = 500
"""Statements in one round trip."""


def wall_ms() -> int:
    """Return the wall clock in whole milliseconds."""
    return time.time_ns() // 1_000_000


class Effects:
    """Carries out decisions. `clock` is the wall clock, in milliseconds: it can only keep a permit from being signed."""

    def __init__(
        self,
        store: Store,
        key: SigningKey,
        producer: AIOKafkaProducer,
        decisions_topic: str,
        metrics: Metrics,
        clock: Callable[[], int] = wall_ms,
    ) -> None:
        self._store, self._key, self._producer, self._topic = store, key, producer, decisions_topic
        self._count = metrics.effect
        self._metrics = metrics
        self._clock = clock
        self._pending: dict[str, Decision] = {}
        self._unsigned: dict[str, Decision] = {}  # by gate: the permit with probe tokens that was of no use when its turn came
        # Closings are written in a lane of their own, so that none waits behind renewals. Which lane answers first does not
        # matter: the store compares epochs.
        self._wakes = {Kind.CLOSE: asyncio.Event(), Kind.OPEN: asyncio.Event()}
        self._sends: list[asyncio.Future[object]] = []
        self._seals: dict[int, Seal] = {}  # by evidence partition: the newest that waits
        self._differing: set[int] = set()  # partitions whose seal in the store is another monitor's, and not the same
        self.last: dict[str, Decision] = {}  # of every gate that this worker governs
        self._tails: dict[str, str] = {}  # by gate: the end of the statement that the store took
        self._failing: set[Kind] = set()  # lanes whose last write got no answer
        self._episode = Episode(logger, "store", "the store is back")
        self.refusals = Refusals()

    async def take(self, decisions: Iterable[Decision]) -> None:
        """Take decisions in the order of the log. Returns when their records are on their way."""
        decisions = list(decisions)
        self._metrics.decided(decisions)
        for decision in decisions:
            if decision.kind is not Kind.NOTE:
                # A write of the store's last decision may wait meanwhile (`write_again`): it has no tokens.
                waiting = self._unsigned.pop(decision.gate, None) or self._pending.get(decision.gate)
                self._pending[decision.gate] = _with_tokens_of(waiting, decision)
                self.last[decision.gate] = decision
                self._wakes[_lane_of(decision)].set()
            sent = await self._producer.send(self._topic, encode_decision(decision), key=decision.gate.encode(), partition=None)
            self._sends.append(sent)
        if self._wakes[Kind.CLOSE].is_set():
            await asyncio.sleep(0)  # a closing goes out before the governor goes on
        if len(self._sends) > WRITES_MAX:
            await self.settle()

    def take_seal(self, seal: Seal) -> None:
        """Take the seal of a partition; one that waits for the store gives way to it."""
        self._seals[seal.partition] = seal
        self._wakes[Kind.OPEN].set()

    def adopt(self, decisions: Iterable[Decision]) -> None:
        """Take over what was last said of gates that this worker governs from now on, so that it can be said again."""
        for decision in decisions:
            self.last.setdefault(decision.gate, decision)

    async def settle(self) -> None:
        """Wait until the decisions topic has everything.

        Raises:
            KafkaError: it does not: the worker must stop before any snapshot says otherwise.
        """
        sends, self._sends = self._sends, []
        if sends:
            await asyncio.gather(*sends)

    def forget(self, gates: Iterable[str]) -> None:
        """Let go of gates that another worker governs now."""
        for gate in gates:
            self._pending.pop(gate, None)
            self._unsigned.pop(gate, None)
            self.last.pop(gate, None)
            self._tails.pop(gate, None)
            self.refusals.forget(gate)

    def forget_written(self, gates: Iterable[str]) -> None:
        """Let go of gates that no policy speaks of any more, but for those whose closing waits for the store."""
        for gate in gates:
            if gate not in self._pending:
                self._unsigned.pop(gate, None)
                self.last.pop(gate, None)
                self._tails.pop(gate, None)
                self.refusals.forget(gate)

    @property
    def reachable(self) -> bool:
        """Whether the store took the last write of each lane: a full one takes closings and no permits."""
        return not self._failing

    async def write_regularly(self) -> None:
        """Write what is pending for as long as the worker lives."""
        await asyncio.gather(*(self._write_lane(lane) for lane in self._wakes))

    async def _write_lane(self, lane: Kind) -> None:
        wake = self._wakes[lane]
        while True:
            await wake.wait()
            wake.clear()
            try:
                await self.write_pending(lane)
                if lane is Kind.OPEN:  # permits stand before the seal that names them
                    await self.write_seals()
                self._failing.discard(lane)
                if self.reachable:
                    self._episode.end()
            except StoreUnreachable as error:
                self._episode.begin("the store does not answer; permits lapse until it does: %s", error)
                self._failing.add(lane)
                self._count("store_unreachable", 1)
                wake.set()
                await asyncio.sleep(RETRY_SECONDS)

    async def write_pending(self, *lanes: Kind) -> None:
        """Sign and write the newest decision of each gate, of these lanes or of all.

        Raises:
            StoreUnreachable: the store did not answer; what is not superseded stays pending.
        """
        waiting = [(gate, at) for gate, at in self._pending.items() if _lane_of(at) in (lanes or self._wakes)]
        waiting.sort(key=lambda pending: pending[1].kind is not Kind.CLOSE)
        batch = dict(waiting[:WRITES_MAX])
        pairs: list[tuple[Statement, bytes]] = []
        written: list[Decision] = []
        now_ms = self._clock()
        for decision in batch.values():
            if decision.kind is not Kind.CLOSE and ends_ms(decision) <= now_ms:
                self._count("lapsed_unsigned", 1)
                self._leave_unsigned(decision)
                continue
            try:
                pairs.append((statement_of(decision, self._key, now_ms), encode_decision(decision)))
                written.append(decision)
            except FutureEvidence as error:
                logger.warning("not signed: %s", error)
                self._count("future_evidence", 1)
                self._leave_unsigned(decision)
        taken = await self._store.write(pairs)
        for gate, decision in batch.items():
            if self._pending.get(gate) is decision:
                del self._pending[gate]
        self._count("written", sum(taken))
        for decision, (statement, _), answer in zip(written, pairs, taken, strict=True):
            if answer:
                self.refusals.forget(decision.gate)
                self._tails[decision.gate] = statement.token[-TAIL_CHARS:]
            else:
                self._refused(decision, answer, now_ms)
        for decision in self._pending.values():  # more than one batch, or newer than what was written
            self._wakes[_lane_of(decision)].set()

    def _leave_unsigned(self, decision: Decision) -> None:
        """Let go of a permit that nobody can use. Its probe tokens were never handed out, so the next renewal brings them."""
        del self._pending[decision.gate]
        if decision.tokens:
            self._unsigned[decision.gate] = decision

    async def write_seals(self) -> None:
        """Sign and write the newest seal of each partition.

        Raises:
            StoreUnreachable: the store did not answer; a seal that no newer one replaced waits.
        """
        now_ms, waiting = self._clock(), dict(self._seals)
        pairs: list[tuple[Seal, str]] = []
        for seal in waiting.values():
            if seal.open and seal.open[-1][0] > now_ms:
                logger.warning("not sealed: evidence is %d ms ahead of this clock", seal.open[-1][0] - now_ms)
                self._count("future_evidence", 1)
            elif seal.kept_ms <= now_ms:
                self._count("lapsed_unsigned", 1)
            else:
                pairs.append((seal, seal.sign(self._key)))
        answers = await self._store.write_seals(pairs) if pairs else []
        for partition, seal in waiting.items():
            if self._seals.get(partition) is seal:
                del self._seals[partition]
        for (seal, _), answer in zip(pairs, answers, strict=True):
            self._sealed(seal, answer)
        if self._seals:
            self._wakes[Kind.OPEN].set()

    def _sealed(self, seal: Seal, answer: Sealed) -> None:
        self._count(f"seal_{answer.how}", 1)
        if answer.how != "differs":
            self._differing.discard(seal.partition)
        elif seal.partition not in self._differing:
            self._differing.add(seal.partition)
            logger.error(
                "evidence partition %d: the store holds another seal of the same position %s. Two monitors decide differently; "
                "this one's is not written. Stop the one whose version or libraries are not the others'",
                *(seal.partition, seal.position),
            )

    def _refused(self, decision: Decision, answer: Answer, now_ms: int) -> None:
        kind, words = self.refusals.note(decision, answer, now_ms)
        self._count("refused", 1)
        if kind != OLDER:
            self._count(kind, 1)
        if words:
            logger.error("%s", words)

    def waits(self, gates: Iterable[str]) -> bool:
        """Return whether a statement of one of these gates is not yet in the store."""
        return not self._pending.keys().isdisjoint(gates)

    def wrote(self, gate: str, tail: bytes) -> bool:
        """Return whether a record that ends like this may be the one that the store took from this worker for the gate.

        What another worker wrote before this one governed the gate is written again, so that it is known from then on.
        """
        return self._tails.get(gate, "").encode() == tail and bool(tail)

    def write_again(self, gates: Iterable[str]) -> None:
        """Have the last decision of gates written once more: the store has lost it."""
        for gate in gates:
            if gate in self.last:
                # Its probe tokens were said: who lost them does not get them twice.
                self._pending.setdefault(gate, msgspec.structs.replace(self.last[gate], tokens=0))
                self._wakes[_lane_of(self._pending[gate])].set()


def _with_tokens_of(waiting: Decision | None, decision: Decision) -> Decision:
    """Return a renewal with the probe tokens of the permit that it takes the place of, which nobody has written yet."""
    if waiting is None or not waiting.tokens or decision.kind is not Kind.RENEW or decision.probe_epoch != waiting.probe_epoch:
        return decision
    return msgspec.structs.replace(decision, tokens=waiting.tokens)


def _lane_of(decision: Decision) -> Kind:
    return Kind.CLOSE if decision.kind is Kind.CLOSE else Kind.OPEN
