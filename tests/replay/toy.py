"""A judge for tests of tuning that answers in no time, in a module of its own: other processes import it."""

from __future__ import annotations

import time
from dataclasses import dataclass

from failshut_breakers.policy.policy import Conformance, parse_policy
from failshut_replay.tune.search import Incidental, Outcome
from failshut_replay.tune.space import Space, Usual

SERIES = "agent/amount"
RULE = f"""gate: pay
permit: {{ttl: 3s}}
conditions:
  - conformance: {{series: {SERIES}, rule: "value <= 60", window: 20}}
  - drift: {{series: {SERIES}, detector: adwin}}
reset: {{after: 5s, probes: 0}}
"""
SPACE = Space(RULE, {SERIES: Usual(48.0, 2.0)})
WEEK_MS = 604_800_000


def outcome(delays: list[float | None], false: int = 0) -> Outcome:
    incidents = tuple(Incidental(str(number), 100.0, delay) for number, delay in enumerate(delays))
    return Outcome(incidents, false, WEEK_MS, 0)


@dataclass(frozen=True)
class Toy:
    """Judges in no time: the lower the limit of the rule, the more it notices and the more it trips for nothing."""

    pause_s: float = 0.0

    def __call__(self, text: str) -> Outcome:
        time.sleep(self.pause_s)
        (rule,) = [one for one in parse_policy(text).conditions if isinstance(one, Conformance)]
        limit = float(rule.criterion.text.split()[-1])
        return outcome([5.0 if limit < 60 else None, 9.0 if limit < 52 else None], int(limit < 50))
