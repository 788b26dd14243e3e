"""A governor's gate and a second reading of docs/policy.md (reading.py) agree at every mark, whatever happens.

Policies, streams, faults, orders and probes are drawn from a seed (telling.py). FAILSHUT_STORIES says how many stories
(`make simulate`: a million).
"""

from __future__ import annotations

import os
import random
from collections import Counter

import pytest
from telling import Level, Story, drawn

from failshut_detectors.registry import OURS

pytestmark = pytest.mark.slow

STORIES = int(os.environ.get("FAILSHUT_STORIES", "10000"))
SHARDS = 20
STORIES_OF_A_POLICY = 20
STEPS = (6, 6, 6, 30)


@pytest.fixture(autouse=True)
def _installed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(OURS, "level", Level)


@pytest.mark.parametrize("shard", range(SHARDS))
def test_they_agree_at_every_mark(shard: int) -> None:
    """Open or closed, and in which state; orders taken or refused. The stories do reach every state, more than once."""
    reached: Counter[tuple[str, ...]] = Counter()
    for number in range(-(-STORIES // SHARDS // STORIES_OF_A_POLICY)):
        policy = drawn(random.Random(f"policy {shard} {number}"))
        for story in range(STORIES_OF_A_POLICY):
            rng = random.Random(f"story {shard} {number} {story}")
            one = Story(rng, policy)
            for step in range(rng.choice(STEPS)):
                said = [one.step()]
                said += [one.order()] if rng.random() < 0.1 else []
                said += [one.edit()] if rng.random() < 0.03 else []
                for shown, should in filter(None, said):
                    where = f"shard {shard}, policy {number}, story {story}, step {step}"
                    assert shown == should, (where, policy.text, one.gate.breaker, one.gate.shown, vars(one.reader))
                    reached[shown] += 1
    orders = {taken for _, _, taken in reached}
    assert {"armed", "bypass", "proving", ""} <= {mode for mode, _, _ in reached}
    assert {"lock", "unlock", "reset", "bypass", "end_bypass", "accept"} <= orders, orders
