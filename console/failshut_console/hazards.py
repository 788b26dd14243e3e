"""What looks safe in a policy and is not: warnings of `failshut policy check`, each with the line to add.

A policy may be right in every field and still leave its gate open in a fault that it names, or closed for ever. Each rule below
is one such kind, as a pure function from a policy to warnings. Can a detector raise an alarm at all, and does a rule
distinguish readings? Both are tested by trying: the detector is fed what it should notice, and the rule numbers around its own.

Limits: without a monitor nobody knows how often a series is sent; only `every` of several series says so. With one,
observing.py asks.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass

from failshut_breakers.policy.policy import Anomaly, ConditionPolicy, Conformance, Drift, FailureRate, Heartbeat, Policy
from failshut_breakers.policy.units import format_ms

TTL_MS = 60_000
GRACE_MS = 300_000
RESET_MS = 1_000
LEARN_MS = 3_600_000
EXECUTIONS_PER_SECOND = 1_000
PROBES_PER_SECOND = 100
_EVENTS = 2_000
_NUMBER = re.compile(r"\d+(?:\.\d+)?(?:[eE][-+]?\d+)?")


@dataclass(frozen=True, slots=True)
class Hazard:
    """One warning: about which part of the policy, what is unsafe, and what to do instead."""

    where: tuple[str, ...]
    why: str
    mend: str


def hazards(policy: Policy) -> list[Hazard]:
    """Return everything that looks safe in a policy and is not."""
    found = [*_of_the_whole(policy), *_of_votes(policy), *_of_the_reset(policy)]
    heard = {one.series for one in policy.conditions if isinstance(one, Heartbeat) and one.series}
    for number, condition in enumerate(policy.conditions):
        where = ("conditions", str(number))
        match condition:
            case Drift() | Anomaly() | Conformance():
                found += [Hazard(where, *words) for words in _of_a_series(condition, heard)]
            case Heartbeat():
                found += [Hazard(where, *words) for words in _of_a_heartbeat(condition)]
            case FailureRate():
                found += [Hazard(where, *words) for words in _of_executions(condition, policy)]
    return found


def _of_the_whole(policy: Policy) -> Iterator[Hazard]:
    if not policy.subjects:
        yield Hazard(("subjects",), "`subjects` is empty, so nobody may execute", 'write subjects: ["agent:refund-*"]')
    if not policy.operations:
        yield Hazard(("operations",), "`operations` is empty, so nothing may be executed", "leave `operations` out for all")
    if policy.permit.ttl > TTL_MS:
        lives = format_ms(policy.permit.ttl)
        why = f"a permit lives {lives}: for so long guards admit after the monitor died, or was cut off"
        yield Hazard(("permit", "ttl"), why, "write permit: {ttl: 3s}")


def _of_votes(policy: Policy) -> Iterator[Hazard]:
    wanted = policy.demands_to_trip
    if wanted == 1:
        return
    voters = [one for one in policy.conditions if one.action == "trip" and not isinstance(one, Heartbeat)]
    heartbeats = [one.name for one in policy.conditions if one.action == "trip" and isinstance(one, Heartbeat)]
    if len(voters) < wanted:
        why = (
            f"trip_on asks for {wanted} votes and {len(voters)} conditions can ever vote: a missing heartbeat closes by itself "
            "and is no vote, so the breaker can never trip"
        )
        yield Hazard(("trip_on",), why, "write trip_on: any")
    elif heartbeats:
        why = f"{heartbeats[0]} is no vote: missing, it closes the gate by itself, and opens it when it is back"
        yield Hazard(("trip_on",), why, "write action: lapse, which says the same")
    if wanted == len(voters) > 1:
        yield Hazard(
            ("trip_on",),
            "every tripping condition has to demand at once: a fault that one of them alone notices leaves the gate open",
            "write trip_on: any",
        )


def _of_the_reset(policy: Policy) -> Iterator[Hazard]:
    reset = policy.reset
    every_ms = max((one.every or 0 for one in policy.conditions if isinstance(one, Drift | Anomaly)), default=0)
    if reset.after is not None and reset.after < max(RESET_MS, every_ms):
        pace = f", which is less than one period of {format_ms(every_ms)}" if reset.after < every_ms else ""
        yield Hazard(
            ("reset", "after"), f"a reset after {format_ms(reset.after)}{pace}: nothing is known by then", "write after: 30s"
        )
    if reset.probes * 1_000 > PROBES_PER_SECOND * reset.deadline:
        why = f"{reset.probes} probes in {format_ms(reset.deadline)} will hardly come back: PROVING would fail each time"
        yield Hazard(("reset", "deadline"), why, "write probes: 5, deadline: 60s")


def _of_a_series(condition: Drift | Anomaly | Conformance, heard: set[str]) -> Iterator[tuple[str, str]]:
    silent = [series for series in condition.all_series if series not in heard]
    if silent and condition.stale is None:
        why = f"{condition.name}: nothing says how long {silent[0]} may be silent: it is ten of its intervals, 30s to a day"
        yield why, f"write stale: 10s, or a condition heartbeat: {{series: {silent[0]}, grace: 10s}}"
    totals = [series for series in condition.all_series if series.endswith(".total")]
    if totals and not isinstance(condition, Conformance):
        why = f"{condition.name}: {totals[0]} is a counter, which only grows: a detector of levels speaks for ever or never"
        yield why, f"judge its rate: conformance: {{series: {totals[0]}, rule: 'rate < 100'}}"
    if condition.action == "lapse":
        why = f"{condition.name}: a lapse has no breaker behind it: the gate opens without probes and without an operator"
        yield why, "leave `action` out"
    if condition.by:
        yield from _of_instances(condition)
    if isinstance(condition, Conformance):
        yield from _of_a_rule(condition)
        return
    if condition.every is not None:
        needs_ms = readings_to_learn(condition) * condition.every
        if needs_ms > LEARN_MS:
            why = f"{condition.name}: it learns for {format_ms(needs_ms)} before the gate can open"
            yield why, "write a smaller `every` or `learn`"


def _of_instances(condition: Drift | Anomaly | Conformance) -> Iterator[tuple[str, str]]:
    if condition.instances is None:
        why = f"{condition.name}: one instance that is judged is enough for it, however many have never come"
        yield why, "write instances: 8, or as many as must be judged"
    if condition.forget is None and condition.newcomer is None:
        why = f"{condition.name}: an instance that comes closes the gate until it has learnt, one that leaves for ever"
        yield why, "write newcomer: 10m and forget: 5m, or longer than a replacement takes"


def _of_a_rule(condition: Conformance) -> Iterator[tuple[str, str]]:
    criterion = condition.criterion
    told = _told_apart(condition)
    if told is not None:
        always = "always" if told else "never"
        yield f"{condition.name}: {criterion.text!r} is {always} true, as far as numbers were tried", "look at the rule"
    if "interval" in criterion.text:
        why = f"{condition.name}: a rule is judged when a reading comes, so it says nothing of silence"
        yield why, f"write heartbeat: {{series: {condition.series}, grace: 3s}}"
    detector = condition.build_detector()
    if not detector.feed([1.0] * _EVENTS + [0.0] * _EVENTS, [1_000 * n for n in range(2 * _EVENTS)]):
        why = f"{condition.name}: its detector cannot speak with these settings, whatever it reads"
        yield why, "write a larger `window`, or leave it out"
    unheard = int(condition.over * condition.window)
    if condition.over > 0.2 and (condition.at_once is None or condition.at_once > unheard):
        why = f"{condition.name}: up to {unheard} of {condition.window} readings may break the rule"
        yield why, "write over: 0.05, or at_once: 1 for what nothing may break"


def _of_a_heartbeat(condition: Heartbeat) -> Iterator[tuple[str, str]]:
    if condition.grace > GRACE_MS:
        why = f"{condition.name}: it may be silent for {format_ms(condition.grace)} with the gate open"
        yield why, "write grace: 3s, or a few of its intervals"


def _of_executions(condition: FailureRate, policy: Policy) -> Iterator[tuple[str, str]]:
    if condition.action == "lapse":
        why = f"{condition.name}: a closed gate has no executions, so a lapse ends only when somebody accepts it"
        yield why, "leave `action` out, with reset: {after: 30s, probes: 5}"
    elif not policy.reset.probes:
        why = f"{condition.name}: a closed gate has no executions, and without probes only `failshut accept` ends a closing"
        yield why, "write reset: {probes: 5}"
    if condition.at_least * 1_000 > EXECUTIONS_PER_SECOND * condition.window:
        why = f"{condition.name}: {condition.at_least} executions in {format_ms(condition.window)} hardly come: it never judges"
        yield why, "write at_least: 20"


def readings_to_learn(condition: ConditionPolicy) -> int:
    """Return how many readings a detector takes until it is ready, at most as many as are tried."""
    assert isinstance(condition, Drift | Anomaly | Conformance)  # noqa: S101 - asked of these alone
    detector, width = condition.build_detector(), max(1, condition.detector.width)
    for count in range(1, _EVENTS + 1):
        events = isinstance(condition, Conformance)
        values = [1.0 if events else float((count * (7 + metric)) % 11) for metric in range(width)]
        detector.feed([tuple(values) if condition.detector.width else values[0]], [60_000 * count])
        if detector.ready:
            return count
    return _EVENTS


def _told_apart(condition: Conformance) -> bool | None:
    """Return what a rule says of every number tried, or None where it tells some apart."""
    criterion = condition.criterion
    named = [float(number) for number in _NUMBER.findall(criterion.text)][:50]
    values = {0.0, 1.0, -1.0, 1e12, -1e12}
    for number in named:
        values |= {sign * number + more for sign in (1.0, -1.0) for more in (0.0, 0.5, -0.5, 1e-6, -1e-6)}
        values |= {number * 1.5, number / 2.0, -number * 1.5}
    ordered = sorted(values)
    row = [*ordered, *reversed(ordered), *(value for pair in zip(ordered, reversed(ordered), strict=True) for value in pair)]
    times, now = [], 0
    for at in range(len(row)):
        now += (1, 1_000, 60_000, 86_400_000)[at % 4]
        times.append(now)
    said = set(criterion.judge(row, times, (row[0], 0)) if criterion.needs_before else criterion.judge(row, (), None))
    return bool(said.pop()) if len(said) == 1 else None
