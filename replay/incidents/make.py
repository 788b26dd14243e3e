"""Makes the recordings beside it, and the week in replay/weeks: `python replay/incidents/make.py`.

The demonstration's services are played in virtual time, from a fixed seed. They write to a synthetic front door
(failshut_replay/sources/front_door.py), and the governor behind it is the one that runs live. So nothing here was measured on
a running system, and nothing behind the front door is a simulation. Executions follow the gate: probes are carried out, and
succeed or fail as the service does at that moment. Run again, it writes the same bytes of evidence and decisions.
"""

from __future__ import annotations

import math
import random
import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path

from failshut_breakers.evidence.records import decode_run
from failshut_breakers.governor import Governor
from failshut_replay.recording.record import Evidence, record
from failshut_replay.sources.front_door import Event, evidence_of
from failshut_replay.times import iso, read_time_ms

HERE = Path(__file__).parent
WEEKS = HERE.parent / "weeks"
START_MS = read_time_ms("2026-03-02T09:00:00Z")
MINUTE_MS = 60_000
SLOW_FROM = (4 * 24 + 14) * 60
SLOW_UPTO = SLOW_FROM + 40
SOURCE = "made by replay/incidents/make.py: the demonstration's services in virtual time"


@dataclass
class World:
    """What services see of their gate: whether they are asked to carry out probes."""

    probes: list[tuple[str, str, int]] = field(default_factory=list)  # gate, token, epoch

    def watch(self, evidence: Iterator[Evidence]) -> Iterator[Evidence]:
        """Let a governor judge what goes by, as a live one would before the next event."""
        governor: Governor | None = None
        for one in evidence:
            run = decode_run(one.record)
            governor = governor or Governor(0, run.log, lambda gate: True)
            for decision in governor.step(one.offset, run):
                epoch = decision.probe_epoch
                self.probes += [(decision.gate, f"{epoch}:{n}", int(epoch)) for n in range(decision.tokens)]
            yield one

    def outcomes(self, now_ms: int, works: bool) -> Iterator[Event]:
        """Yield the outcomes of the probes that were asked for."""
        asked, self.probes = self.probes, []
        for gate, token, epoch in asked:
            yield Event(now_ms, ("outcome", gate, epoch, token, "ok" if works else "failed", 1))


def drift(world: World, rng: random.Random) -> Iterator[Event]:
    """Let amounts creep up by half within two minutes, stay there for three, and are put right."""
    for step in range(15 * 60 * 4):
        minute = step / 240
        share = min(1.0, max(0.0, (minute - 6) / 2)) if minute < 11 else 0.0
        now_ms = START_MS + step * 250
        yield Event(now_ms, ("sample", "refund-agent/amount_eur", round(rng.gauss(48 + 24 * share, 6), 2)))
        if step % 2 == 0:
            yield Event(now_ms, ("beat", "refund-agent"))
        yield from world.outcomes(now_ms, works=True)


def silent_death(world: World, rng: random.Random) -> Iterator[Event]:
    """Yield the autoscaler's loop hangs for a minute and a half; its exporter goes on reporting the last number."""
    replicas = 12.0
    for step in range(12 * 60 * 2):
        minute, now_ms = step / 120, START_MS + step * 500
        alive = not 5 <= minute < 6.5
        if alive and step % 20 == 0:
            replicas = float(min(20, max(4, replicas + rng.choice([-1, 0, 0, 1]))))
        yield Event(now_ms, ("sample", "autoscaler/replicas", replicas))
        if alive:
            yield Event(now_ms, ("beat", "autoscaler"))
        yield from world.outcomes(now_ms, works=alive)


def lagging_consumer(world: World, rng: random.Random) -> Iterator[Event]:
    """Yield one of three partitions is read at a quarter of its rate for three minutes, then caught up."""
    ends, committed = [1_000, 2_000, 3_000], [998, 1_997, 3_000]
    for step in range(14 * 60 * 2):
        minute, now_ms = step / 120, START_MS + step * 500
        for partition in range(3):
            ends[partition] += rng.randint(6, 10)
            slow = partition == 1 and 5 <= minute < 8
            committed[partition] = min(ends[partition], committed[partition] + (2 if slow else rng.randint(9, 14)))
        sampled = {partition: (committed[partition], ends[partition]) for partition in range(3)}
        yield Event(now_ms, ("lag", "demo-router", "demo-payments", sampled))
        yield Event(now_ms, ("beat", "payment-router"))
        yield from world.outcomes(now_ms, works=True)


def shadow_week(world: World, rng: random.Random) -> Iterator[Event]:
    """Let a week pass at a reading a minute: slower by day, noisy, and on the fifth day three times as slow for 40 minutes."""
    for minute in range(7 * 24 * 60):
        day = math.sin(2 * math.pi * (minute / 1440 - 0.3))
        usual = 120 + 25 * day + rng.gauss(0, 6) + (rng.expovariate(1 / 15) if rng.random() < 0.02 else 0)
        slow = 3.0 if SLOW_FROM <= minute < SLOW_UPTO else 1.0
        now_ms = START_MS + minute * MINUTE_MS
        yield Event(now_ms, ("sample", "shop-api/latency_ms", round(usual * slow, 1)))
        yield Event(now_ms, ("beat", "shop-api"))


INCIDENTS: dict[str, tuple[Callable[[World, random.Random], Iterator[Event]], str, float, float, str]] = {
    "drift": (drift, "payments-refund", 6, 11, "refund amounts creep from 48 to 72 EUR; put right at 09:11"),
    "silent-death": (silent_death, "fleet-scale", 5, 6.5, "the autoscaler's loop hangs, its exporter does not"),
    "lagging-consumer": (lagging_consumer, "payments-route", 5, 9, "partition 1 of demo-payments is read too slowly"),
    # A week with a mark a minute; apart from the others, because nobody tunes on it.
    "shadow-week": (shadow_week, "shop-checkout", SLOW_FROM, SLOW_UPTO, "latencies of the shop are three times what is usual"),
}


def make(name: str, folder: Path, mark_every_ms: int = 1_000) -> None:
    """Write one recording and its labels."""
    events, policy, start, end, note = INCIDENTS[name]
    file = HERE / "policies" / f"{policy}.yaml"
    text = file.read_text(encoding="utf-8")
    world = World()
    evidence = world.watch(evidence_of(events(world, random.Random(f"failshut {name}")), {file.name: text}, mark_every_ms))
    manifest = record(folder / f"{name}.parquet", evidence, source=SOURCE, force=True)
    (gate,) = manifest.gates
    (folder / f"{name}.labels.yaml").write_text(
        "# What is known of the incident, for `failshut score`. Written by make.py, which made the incident.\n"
        "incidents:\n"
        f"  - gate: {gate}\n"
        f"    start: {iso(START_MS + round(start * MINUTE_MS))}\n"
        f"    end: {iso(START_MS + round(end * MINUTE_MS))}\n"
        f"    note: {note}\n",
        encoding="utf-8",
    )
    print(f"{name}: {manifest.rows('evidence')} evidence records, {manifest.rows('decision')} decisions, {manifest.digest}")


if __name__ == "__main__":
    for each in INCIDENTS:
        week = each == "shadow-week"
        folder = Path(sys.argv[1]) if len(sys.argv) > 1 else WEEKS if week else HERE
        make(each, folder, MINUTE_MS if week else 1_000)
