"""A governor's gate and a second reading of docs/policy.md (reading.py) agree at every mark, whatever happens.

Policies, streams and faults are drawn from a seed: rules with limits and heartbeats under every `trip_on`, series that are
good, bad, silent, unreadable, old or slow, sources of which instances die. FAILSHUT_STORIES says how many (`make simulate`: a
million).
"""

from __future__ import annotations

import os
import random
from typing import Any

import pytest
from log import INSTALLATION, START_MS, policy
from reading import LIMIT, Reader, Told

from failshut_breakers.conditions import Moment
from failshut_breakers.evidence.records import Beats, FaultRow, Faults, Place, Reading, Samples
from failshut_breakers.gate.state import Gate
from failshut_breakers.gate.step import Record, Step
from failshut_breakers.gate.turn import Turn
from failshut_breakers.policy.policy import Entry, Policy, parse_policy
from failshut_breakers.policy.units import format_ms

pytestmark = pytest.mark.slow

STORIES = int(os.environ.get("FAILSHUT_STORIES", "10000"))
SHARDS = 20
STEPS = 12
STORIES_OF_A_POLICY = 50
MODES = ("good", "good", "good", "bad", "some", "silent", "unreadable", "half", "old", "slow")


def drawn(rng: random.Random) -> tuple[Policy, dict[str, dict[str, Any]], int, int]:
    """A policy, and the same for the other reader."""
    texts, settings = [], {}
    for series in ("s/x", "s/y")[: rng.choice((1, 1, 2))]:
        window, over = rng.randint(2, 10), rng.choice((0.05, 0.05, 0.3, 0.5))
        own: dict[str, Any] = {"kind": "conformance", "window": window, "over": over}
        text = f'conformance: {{series: {series}, rule: "value <= 100", window: {window}, over: {over}, confidence: 1e-9'
        if rng.random() < 0.3:
            own["stale_ms"] = rng.choice((1_000, 5_000, 20_000))
            text += f", stale: {format_ms(own['stale_ms'])}"
        if rng.random() < 0.2:
            own["at_once"] = rng.randint(1, 3)
            text += f", at_once: {own['at_once']}"
        own["action"] = rng.choice(("trip", "trip", "trip", "lapse"))
        texts.append(f"{text}, action: {own['action']}}}")
        settings[f"conformance:{series}"] = own
    if rng.random() < 0.6:
        beat = {"kind": "heartbeat", "instances": rng.choice((1, 1, 2)), "action": rng.choice(("trip", "lapse"))}
        beat["grace_ms"] = rng.choice((1_000, 3_000))
        grace = format_ms(int(beat["grace_ms"]))
        texts.append(
            f"heartbeat: {{source: a, instances: {beat['instances']}, grace: {grace}, action: {beat['action']}, every: 100ms}}"
        )
        settings["heartbeat:a"] = beat
    tripping = sum(one["action"] == "trip" for one in settings.values())
    wanted = rng.randint(1, tripping) if tripping else 1
    after_ms = rng.choice((0, 1_000, 5_000))
    more = {"reset": f"{{after: {format_ms(after_ms)}, probes: 0}}" if after_ms else "{probes: 0}"}
    if tripping:
        more["trip_on"] = f"'{wanted} of {tripping}'"
    return parse_policy(policy(*texts, **more)), settings, wanted, after_ms


class Story:
    """One stream of evidence, told to both."""

    def __init__(
        self, rng: random.Random, text: Policy, settings: dict[str, dict[str, Any]], wanted: int, after_ms: int
    ) -> None:
        self.rng, self.now_ms, self.offset = rng, START_MS, 0
        self.reader = Reader({name: Told(own["kind"], own) for name, own in settings.items()}, wanted, after_ms)
        self.gate = Gate("g")
        self.gate.activate(Entry("g", "p.yaml", "sha256:0", text, ""), 0, Place("control", 0, 0, 0), "operator", Turn())
        self.modes = dict.fromkeys(settings, "good")

    def step(self) -> tuple[bool, bool]:
        """Let something happen up to the next mark; return whether the gate is open, as it says and as the reader does."""
        rng = self.rng
        for name in self.modes:
            if rng.random() < 0.2:
                self.modes[name] = rng.choice(MODES)
        sent_ms, self.now_ms = self.now_ms, self.now_ms + rng.choice((200, 200, 1_000, 1_000, 4_000))
        moment = Moment(self.now_ms, self.now_ms)
        readings: list[Reading] = []
        for name, mode in self.modes.items():
            told = self.reader.conditions[name]
            readings += (
                self._beats(told, mode, sent_ms) if told.kind == "heartbeat" else self._values(told, name, mode, sent_ms)
            )
        record = Record(INSTALLATION, 1, 0, self.offset, "telemetry", 0)
        self.offset += 1
        step = Step(self.gate, Turn(), record, moment)
        step.read(readings, 0)
        step.tick(Place("telemetry", 0, self.offset, 0))
        step.conclude()
        return bool(self.gate.shown.mode), self.reader.mark(moment.evidence_ms, moment.newest_ms)

    def _beats(self, told: Told, mode: str, sent_ms: int) -> list[Reading]:
        names = {"silent": [], "half": ["i1"], "bad": [], "unreadable": []}.get(mode, ["i1", "i2"])
        time_ms = sent_ms - (10_000 if mode == "old" else 0)
        for name in names:
            key = name if told.settings["instances"] > 1 else ""
            told.beaten = True
            told.beats[key] = max(told.beats.get(key, 0), time_ms)
        return [Beats("a", [(self.offset, 0, time_ms)], name) for name in names]

    def _values(self, told: Told, name: str, mode: str, sent_ms: int) -> list[Reading]:
        rng, series = self.rng, name.removeprefix("conformance:")
        if mode == "silent" or (mode == "slow" and rng.random() < 0.9):
            return []
        readings: list[Reading] = []
        for index in range(rng.randint(1, 6)):
            unread = mode == "unreadable" or (mode == "half" and rng.random() < 0.6)
            bad = mode == "bad" or (mode == "some" and rng.random() < 0.2)
            time_ms = sent_ms - (rng.choice((2_000, 60_000)) if mode == "old" else 0)
            told.take(time_ms, None if unread else LIMIT + 1 if bad else 1.0, self.now_ms, self.now_ms)
            at = (self.offset, index, time_ms)
            readings.append(
                Faults(series, [FaultRow(*at, "nan")]) if unread else Samples.of(series, [(*at, LIMIT + 1 if bad else 1.0)])
            )
        return readings


@pytest.mark.parametrize("shard", range(SHARDS))
def test_they_agree_at_every_mark(shard: int) -> None:
    """No mark at which one is open and the other closed; and the stories do open, close and open again."""
    opened = closed = 0
    for number in range(-(-STORIES // SHARDS // STORIES_OF_A_POLICY)):
        drawn_policy = drawn(random.Random(f"policy {shard} {number}"))
        for story in range(STORIES_OF_A_POLICY):
            one = Story(random.Random(f"story {shard} {number} {story}"), *drawn_policy)
            before = False
            for step in range(STEPS):
                is_open, should = one.step()
                where = f"shard {shard}, policy {number}, story {story}, step {step}"
                assert is_open is should, (where, drawn_policy[1], one.gate.shown, one.gate.breaker, one.reader)
                opened, closed, before = opened + (is_open and not before), closed + (before and not is_open), is_open
    assert min(opened, closed) > 1
