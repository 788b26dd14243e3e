"""Which conditions a series is tried with, and what of it is suggested: three lines of a policy.

What is suggested follows from the readings. Events (0 or 1) get a rule. What is nearly always 0 gets a limit. Everything else
gets an anomaly, by the default detector, or by the one for slow series where a reading comes every quarter hour or slower.
Each has a heartbeat beside it, because silence is not heard otherwise. The suggestion is tried once more with `adopt`: a level
that lasts is normal then, and the gate opens again.
"""

from __future__ import annotations

from math import ceil, floor, log10
from typing import NamedTuple

from failshut_breakers.policy.units import format_ms
from failshut_detectors import registry
from failshut_detectors.contract import Kind
from failshut_replay.trial.series import Series

SLOW_MS = 900_000
NEARLY_ALWAYS = 0.9
COOLDOWN_READINGS, COOLDOWN_MS_MIN = 10, 30_000
ADOPT_READINGS, ADOPT_MS_MIN = 60, 600_000
GAP_TIMES, GRACE_READINGS = 2, 3
BUDGET = "false_trips: 1 per 30d"
DEFAULT, SLOW, EVENTS = "local_seasonal", "seasonal_record", "bernoulli_cusum"
ROUND_MS = (
    *(1_000, 2_000, 3_000, 5_000, 10_000, 15_000, 20_000, 30_000, 60_000, 120_000, 180_000, 300_000, 600_000, 900_000),
    *(1_200_000, 1_800_000, 3_600_000, 7_200_000, 10_800_000, 21_600_000, 43_200_000, 86_400_000),
)


class Tried(NamedTuple):
    """What is tried: how it is called, the conditions of its policy, and after how long it resets itself."""

    name: str
    conditions: tuple[str, ...]
    after_ms: int

    def lines(self) -> list[str]:
        """Return the lines to paste into a policy."""
        return ["conditions:", *(f"  - {one}" for one in self.conditions), f"reset: {{after: {format_ms(self.after_ms)}}}"]

    def policy(self, gate: str) -> str:
        """Return a policy for a trial: a reset waits for no probe, because they are assumed to succeed."""
        reset = f"reset: {{after: {format_ms(self.after_ms)}, probes: 0}}"
        return "\n".join([f"gate: {gate}", "permit: {ttl: 10s}", *self.lines()[:-1], reset]) + "\n"


def are_events(values: list[float]) -> bool:
    """Return whether a series says of each of something whether it was so."""
    return set(values) <= {0.0, 1.0} and len(set(values)) == 2


def tried(series: Series, detectors: list[str]) -> list[Tried]:
    """Return what to try: the suggestion first, then the other defaults, then the detectors that were named.

    Raises:
        DetectorError: no such detector.
    """
    values, rule = series.read(), ""
    if are_events(values):
        rule = f"value == {round(sum(values) / len(values))}"
        names = [EVENTS]
    elif sum(value == 0.0 for value in values) > NEARLY_ALWAYS * len(values):
        rule = f"value <= {_round_up(sorted(values)[-1 - len(values) // 1000]):g}"
        names = [EVENTS]
    elif series.pace_ms >= SLOW_MS:
        names = [SLOW, DEFAULT, "false_trip_budget"]
    else:
        names = [DEFAULT, SLOW, "false_trip_budget"]
    after_ms = round_ms(max(COOLDOWN_MS_MIN, COOLDOWN_READINGS * series.pace_ms))
    grace_ms = round_ms(max(GRACE_READINGS * series.pace_ms, GAP_TIMES * series.longest_usual_ms))
    heartbeat = f"heartbeat: {{series: {series.name}, grace: {format_ms(grace_ms)}}}"
    found = [
        Tried(name, (_condition(series.name, name, rule), heartbeat), after_ms) for name in dict.fromkeys([*names, *detectors])
    ]
    adopt_ms = round_ms(max(ADOPT_MS_MIN, ADOPT_READINGS * series.pace_ms))
    first = found[0].conditions[0]
    adopting = f"{first.removesuffix('}')}, adopt: after {format_ms(adopt_ms)}}}"
    return [found[0], Tried(f"{names[0]}, adopting", (adopting, heartbeat), after_ms), *found[1:]]


def _condition(series: str, name: str, rule: str) -> str:
    kind = registry.find(name).kind
    if kind is Kind.CONFORMANCE:
        named = "" if name == EVENTS else f", detector: {name}"
        return f'conformance: {{series: {series}, rule: "{rule or "value >= 0"}"{named}}}'
    if name == "false_trip_budget":
        return f"drift: {{series: {series}, {BUDGET}}}"
    return f"{kind.value}: {{series: {series}{'' if name == DEFAULT else f', detector: {name}'}}}"


def round_ms(ms: int) -> int:
    """Return the next duration that people write, not shorter.

    >>> round_ms(130_000), round_ms(200_000_000)
    (180000, 259200000)
    """
    return next((one for one in ROUND_MS if one >= ms), ceil(ms / ROUND_MS[-1]) * ROUND_MS[-1])


def _round_up(value: float) -> float:
    if value <= 0.0:
        return 0.0
    unit = 10.0 ** floor(log10(value))
    return ceil(value / unit) * unit
