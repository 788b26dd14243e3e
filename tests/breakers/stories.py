"""A random front door for tests: what producers and operators do, from a seed, and routers that restart, lose and come late."""

from __future__ import annotations

import random

from log import CONTROL, START_MS, TELEMETRY, FrontDoor, Log, Router, command, policy

from failshut_breakers.governor import Governor
from failshut_breakers.held_back import owed

LIMIT = 100.0


def gate_policy(gate: str, version: int, names: str) -> str:
    """A policy of which every version watches the series named; a value at or above LIMIT is a demand by itself."""
    return policy(
        *(f'conformance: {{series: s/{name}, rule: "value < 100", window: 10, over: 0.05}}' for name in names),
        f"drift: {{series: s/{names[0]}, detector: adwin, warm_up: 10}}",
        "heartbeat: {source: a, every: 100ms, grace: 2s}",
        gate=gate,
        ttl=f"{2 + version % 2}s",
        reset="{after: 3s, probes: 2, deadline: 4s}",
    )


class Story:
    """A front door that grows from a seed. `bad` holds, for each series, where and when its bad values were appended."""

    def __init__(self, seed: int, partitions: int = 2) -> None:
        self.rng = random.Random(seed)
        self.door = FrontDoor(partitions)
        self.now_ms = START_MS
        self.version = 0
        self.activated_ms = 0
        self.series = "x"
        self.bad: list[tuple[str, tuple[str, int], int, int]] = []  # series, partition, offset, append_ms
        self.epochs: list[int] = []
        starts = {topic: dict.fromkeys(range(count), 0) for topic, count in self.door.counts.items()}
        self.door.append(CONTROL, self.now_ms, ("term", {"term": 1, "starts": starts}))
        self.activate()

    def activate(self) -> None:
        self.version += 1
        self.activated_ms = self.now_ms if self.version > 1 else 0
        self.series = "x" if self.version == 1 else self.rng.choice(["x", "xy", "y"])
        files = {f"{gate}.yaml": gate_policy(gate, self.version, self.series) for gate in ("g", "h")}
        self.door.append(CONTROL, self.now_ms, ("activate", self.version, files, "operator", ""))

    def partition_of(self, series: str) -> tuple[str, int]:
        """Keyed by series, as a producer would: a series stays in its partition."""
        return ("telemetry", (series != "x") % self.door.counts["telemetry"])

    def step(self, trouble: float = 1.0) -> None:
        """Something happens: mostly good samples, beats and marks, sometimes a bad value, a command, an activation."""
        rng = self.rng
        self.now_ms += rng.choice([0, 1, 20, 50])
        for series in "xy":
            if rng.random() < 0.6:
                value = rng.gauss(50, 5)
                fresh = trouble > 0 and self.now_ms - self.activated_ms < 3_000 and rng.random() < 0.05
                if fresh or rng.random() < 0.003 * trouble:
                    value = LIMIT + 1
                    self.bad.append(
                        (series, self.partition_of(series), len(self.door.logs[self.partition_of(series)]), self.now_ms)
                    )
                self.door.append(self.partition_of(series), self.now_ms, ("sample", f"s/{series}", value))
        if rng.random() < 0.3 and self.now_ms % 20_000 < 16_000:
            self.door.append(TELEMETRY, self.now_ms, ("beat", "a", None))
        for key in self.door.logs:
            if rng.random() < 0.25:
                self.door.mark(key, self.now_ms - rng.choice([0, 0, 0, 30]), self.now_ms)
        if rng.random() < 0.003 * trouble:
            self.activate()
        if self.epochs and rng.random() < 0.05 * trouble:
            at = rng.choice(self.epochs[-3:])
            self.door.append(CONTROL, self.now_ms, command("reset", rng.choice("gh"), epoch=at))
        if rng.random() < 0.0005 * trouble:
            self.door.append(CONTROL, self.now_ms, command("lock", rng.choice("gh")))
        if self.epochs and rng.random() < 0.2:
            token = f"{rng.choice(self.epochs[-3:]):016d}:{rng.randint(0, 2)}"
            self.door.append(TELEMETRY, self.now_ms, ("outcome", rng.choice("gh"), 0, token, rng.random() < 0.95, 1))


class Fleet:
    """Some routers over one front door, and the evidence log that they write, in an order that a seed decides."""

    def __init__(self, story: Story, routers: int, evidence_partitions: int = 1) -> None:
        self.story = story
        self.log = Log(evidence_partitions)
        self.control_late = 0.0
        self.misreads = 0.0  # how often a router that starts cannot read some gate's policies
        self.routers = [Router(story.door, self.log, f"router-{n}") for n in range(routers)]

    def turn(self, rng: random.Random, trouble: float = 1.0) -> None:
        """One router does something: reads on, lags, loses a batch, or dies and starts at what was committed."""
        router = rng.choice(self.routers)
        keys = list(self.story.door.logs)
        key = CONTROL if rng.random() < 0.05 else rng.choice(keys)  # under whatever version, if control comes late
        if key == CONTROL and router is not self.routers[0] and rng.random() < self.control_late:
            return
        chance = rng.random()
        if chance < 0.01 * trouble:
            self._start(router, rng)
            return
        before = [len(records) for records in self.log.records]
        commit, routing = dict(router.boundary), dict(router.routing)
        router.route(key, rng.randint(1, 12))
        if chance > 1 - 0.01 * trouble:  # the batch never arrives: the router stops, and starts where it had committed
            for records, count in zip(self.log.records, before, strict=True):
                del records[rng.randint(count, len(records)) :]
            router.boundary, router.routing = commit, routing
            self._start(router, rng)

    def _start(self, router: Router, rng: random.Random) -> None:
        """It is another version now, or it is the right one again."""
        if self.misreads:
            router.blind = frozenset(rng.choice("gh")) if rng.random() < self.misreads else frozenset()
        router.restart()

    def tell_again(self, governor: Governor, rng: random.Random) -> None:
        """Some router goes back to what a governor is owed, sooner or later."""
        for key, position in owed(governor).items():
            router = rng.choice(self.routers)
            if key == CONTROL:
                router.restart()
            elif position < router.position.get(key, 0) and rng.random() < 0.5:
                router.position[key] = position
                for partition in range(len(self.log.records)):
                    router.told[key, partition] = position

    def finish(self) -> None:
        """All routers read to the end."""
        for router in self.routers:
            if router.blind:
                router.blind = frozenset()
                router.restart()
            router.route_all()

    def governor(self, partition: int = 0) -> Governor:
        return self.log.governor(partition)
