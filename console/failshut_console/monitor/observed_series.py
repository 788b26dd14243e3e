"""What producers really send, for `failshut policy check --live`: which series and sources, and how often.

It reads the newest records of each front-door partition, as any consumer may: nothing is committed, and nothing is written.
A policy is then held against them: names that nobody sends, and settings that are shorter than the pace.

Limits: it looks back by so many records, so a series that is sent more rarely than these reach is not seen.
"""

from __future__ import annotations

import asyncio
import difflib
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from itertools import pairwise
from statistics import median
from typing import Protocol

from aiokafka import AIOKafkaConsumer
from aiokafka.errors import KafkaError

from failshut_breakers.policy.policy import Anomaly, Conformance, Drift, Heartbeat, Policy
from failshut_breakers.policy.units import format_ms
from failshut_console.exits import Trouble, unreachable
from failshut_console.hazards import LEARN_MS, Hazard, readings_to_learn
from failshut_streams.codecs import Beat, Headers, Item, NativeDecoder, OtlpDecoder, Sample
from failshut_streams.kafka.address import consumer_options, shown
from failshut_streams.kafka.diagnosis import why_unreachable
from failshut_streams.kafka.topics import Topics
from failshut_streams.sources.marks import MARK_KEY

RECORDS_MAX = 10_000
"""Records of each partition that are looked at, the newest; time marks among them."""

LOOK_SECONDS = 20.0
NAMES_MAX = 20_000
TIMES_MAX = 200
"""Times of one name that its pace is taken from."""
INSTANCES_SEEN_MAX = 1_000
"""Instances of one series that are counted."""


class AnyDecoder(Protocol):
    """What reads the records of a front-door topic."""

    def decode(self, key: bytes | None, value: bytes | None, headers: Headers, append_ms: int) -> list[Item]: ...


@dataclass
class Observed:
    """Times (ms) at which each name was heard, by series and by source."""

    first_ms: int = 0  # append times
    last_ms: int = 0
    series: dict[str, list[int]] = field(default_factory=dict)
    sources: dict[str, list[int]] = field(default_factory=dict)
    instances: dict[str, set[str]] = field(default_factory=dict)  # by series: who sent it

    def take(self, items: Iterable[Item], append_ms: int) -> None:
        """Take what one record held."""
        self.first_ms = min(self.first_ms or append_ms, append_ms)
        self.last_ms = max(self.last_ms, append_ms)
        for item in items:
            if isinstance(item, Sample):
                self._heard(self.series, item.series, append_ms if item.time_ms is None else item.time_ms)
                instances = self.instances.setdefault(item.series, set()) if item.series in self.series else set()
                if len(instances) < INSTANCES_SEEN_MAX:
                    instances.add(item.instance or "")
            elif isinstance(item, Beat):
                self._heard(self.sources, item.source, append_ms if item.time_ms is None else item.time_ms)

    def _heard(self, names: dict[str, list[int]], name: str, time_ms: int) -> None:
        if name in names or len(names) < NAMES_MAX:
            times = names.setdefault(name, [])
            times.append(time_ms)
            del times[:-TIMES_MAX]


def pace_of(times_ms: list[int]) -> float:
    """Return the median interval of times (ms); 0 where one time alone is known."""
    steps = [after - before for before, after in pairwise(sorted(set(times_ms)))]
    return float(median(steps)) if steps else 0.0


def unlike(policy: Policy, observed: Observed) -> list[Hazard]:
    """Return where a policy does not fit what is sent."""
    found: list[Hazard] = []
    paces: list[tuple[float, str]] = []
    for number, condition in enumerate(policy.conditions):
        where = ("conditions", str(number))
        names = observed.sources if isinstance(condition, Heartbeat) and condition.source else observed.series
        for name in _named(condition):
            if name not in names:
                near = difflib.get_close_matches(name, names, n=1)
                mend = f"write {near[0]}" if near else "look at the name, or start its producer"
                why = f"{condition.name}: nobody sent {name} in the last {_told(observed.last_ms - observed.first_ms)}"
                found.append(Hazard(where, why, mend))
                continue
            pace = pace_of(names[name])
            paces.append((pace, name))
            found += [Hazard(where, *words) for words in _of_pace(condition, name, pace)]
            found += [Hazard(where, *words) for words in _of_fleet(condition, name, len(observed.instances.get(name, ())))]
    after = policy.reset.after
    if after is not None and paces and max(paces)[0] > after:
        pace, name = max(paces)
        why = f"a reset after {format_ms(after)}, and {name} comes once in {_told(pace)}: nothing is known by then"
        found.append(Hazard(("reset", "after"), why, f"write after: {_told(3 * pace)}"))
    return found


def _named(condition: object) -> tuple[str, ...]:
    if isinstance(condition, Heartbeat):
        return (condition.source or condition.series or "",)
    return condition.all_series if isinstance(condition, Drift | Anomaly | Conformance) else ()


def _of_fleet(condition: object, name: str, seen: int) -> Iterator[tuple[str, str]]:
    if not isinstance(condition, Drift | Anomaly | Conformance) or len(condition.all_series) > 1:
        return
    if condition.by is None:
        if seen > 1:
            why = f"{condition.name}: {seen} instances send {name}, and it is judged as one stream: each is a part of it"
            yield why, f"write by: instance, instances: {seen}"
    elif seen < condition.judged_least:
        why = f"{condition.name}: {condition.judged_least} instances must be judged, and {seen} send {name}"
        yield why, f"write instances: {seen}"
    elif seen > condition.judged_most:
        why = f"{condition.name}: {seen} instances send {name}, and {condition.judged_most} are judged at most: the gate closes"
        yield why, f"write instances_max: {2 * seen}"


def _of_pace(condition: object, name: str, pace: float) -> Iterator[tuple[str, str]]:
    if isinstance(condition, Heartbeat):
        if condition.grace < 2 * pace:
            grace = format_ms(condition.grace)
            why = f"{condition.name}: it comes once in {_told(pace)}, so a grace of {grace} closes for nothing"
            yield why, f"write grace: {_told(3 * pace)}"
        return
    assert isinstance(condition, Drift | Anomaly | Conformance)  # noqa: S101 - others name nothing
    if condition.stale is not None and condition.stale < 2 * pace:
        stale = format_ms(condition.stale)
        why = f"{condition.name}: {name} comes once in {_told(pace)}, so stale: {stale} closes between readings"
        yield why, f"write stale: {_told(10 * pace)}"
    if isinstance(condition, Conformance):
        return
    if condition.every is not None:
        if pace > condition.every:
            why = (
                f"{condition.name}: {name} comes once in {_told(pace)}, so most periods of {format_ms(condition.every)} lack it"
            )
            yield why, f"write every: {_told(pace)}"
        return
    needs_ms = readings_to_learn(condition) * pace
    if needs_ms > LEARN_MS:
        why = f"{condition.name}: at one reading in {_told(pace)} it learns for {_told(needs_ms)} before the gate can open"
        yield why, "take a detector that learns from fewer, or expect it"


def _told(length_ms: float) -> str:
    return format_ms(max(1, round(length_ms)))


async def observe(broker: str, prefix: str) -> Observed:
    """Return what stands in the newest records of the front door.

    Raises:
        Trouble: the broker did not answer, or has no such topics.
    """
    topics = Topics(prefix)
    decoders: dict[str, AnyDecoder] = {topics.telemetry: NativeDecoder(), topics.otlp_metrics: OtlpDecoder()}
    consumer = AIOKafkaConsumer(**consumer_options(broker), group_id=None, enable_auto_commit=False, check_crcs=False)
    try:
        async with asyncio.timeout(LOOK_SECONDS):
            await consumer.start()
            return await _read(consumer, decoders)
    except (KafkaError, OSError, TimeoutError) as error:
        why = await why_unreachable(broker) or str(error)
        raise unreachable(f"Kafka at {shown(broker)} does not answer: {why}", "start it, or name it with --broker") from error
    finally:
        await consumer.stop()


async def _read(consumer: AIOKafkaConsumer, decoders: dict[str, AnyDecoder]) -> Observed:
    there = await consumer.topics()
    missing = sorted(decoders.keys() - there)
    if missing:
        raise Trouble(
            f"there is no topic {missing[0]}, or this login may not see it",
            "nothing was looked at",
            "name the monitor's: --broker, and --prefix if it has one",
        )
    consumer.subscribe(list(decoders))
    # Within the time limit of the whole look.
    while {partition.topic for partition in consumer.assignment()} != set(decoders):  # noqa: ASYNC110 - there is no event for it
        await asyncio.sleep(0.05)
    found = sorted(consumer.assignment())
    ends = await consumer.end_offsets(found)
    starts = await consumer.beginning_offsets(found)
    left = {}
    for partition in found:
        at = max(starts[partition], ends[partition] - RECORDS_MAX)
        consumer.seek(partition, at)
        if at < ends[partition]:
            left[partition] = ends[partition]
    observed = Observed()
    while left:
        for partition, records in (await consumer.getmany(timeout_ms=500)).items():
            decoder = decoders[partition.topic]
            for record in records:
                mark = record.key == MARK_KEY
                items = [] if mark else decoder.decode(record.key, record.value, record.headers, record.timestamp)
                observed.take(items, record.timestamp)
        for partition, end in list(left.items()):
            if await consumer.position(partition) >= end:
                del left[partition]
    return observed
