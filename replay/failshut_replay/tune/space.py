"""What may be tuned in a policy: which detector, and each parameter within bounds.

Every detector that fits may replace another (bounds.py). One for lasting changes may also replace one for new values. The
incidents decide which of them finds what matters. Detectors know no units, but the limit of a rule has the stream's own. It is
drawn in multiples of the stream's usual spread around its usual value. Both are robust against the incidents in the stream.
Each condition has one dimension for a detector and three for its parameters, whichever detector it is. With a dimension for
every parameter of every detector, the draws would be spread thin.

The rest of a policy is not changed: who may execute, and how it resets. A budget of false trips and a vote are not changed
either: people have promised both to each other.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Protocol

import yaml

from failshut_breakers.policy.conditions import Anomaly, Conformance, Drift
from failshut_breakers.policy.policy import parse_policy
from failshut_breakers.policy.units import format_ms, parse_duration_ms
from failshut_detectors.contract import Kind
from failshut_detectors.registry import find
from failshut_replay.errors import ReplayError
from failshut_replay.tune.bounds import DRAWN, candidates, short

_ON_VALUES = {Kind.DRIFT, Kind.ANOMALY}
_RULE = re.compile(r"^\s*value\s*(<=|<|>=|>)\s*(-?[\d.]+(?:e-?\d+)?)\s*$")


@dataclass(frozen=True, slots=True)
class Usual:
    """A series' usual value and spread, in its own units."""

    value: float
    spread: float

    @classmethod
    def of(cls, values: list[float]) -> Usual:
        """Return median and spread: of the median's deviation, or of the tails where most values are the same."""
        if not values:
            return cls(0.0, 1.0)
        ordered = sorted(values)
        middle = ordered[len(ordered) // 2]
        away = sorted(abs(value - middle) for value in ordered)
        spread = 1.4826 * away[len(away) // 2]
        if spread <= 0:
            spread = next(
                (
                    away[int(share * (len(away) - 1))]
                    for share in (0.9, 0.95, 0.99, 1.0)
                    if away[int(share * (len(away) - 1))] > 0
                ),
                1.0,
            )
        return cls(middle, spread)


class Suggests(Protocol):
    """What of an Optuna trial is used."""

    def suggest_float(self, name: str, low: float, high: float, *, log: bool = False) -> float:
        """Return a number within bounds."""
        ...

    def suggest_int(self, name: str, low: int, high: int, *, log: bool = False) -> int:
        """Return a whole number within bounds."""
        ...

    def suggest_categorical(self, name: str, choices: list[Any]) -> Any:
        """Return one of the choices."""
        ...


class Space:
    """The policies that differ from a given one in what may be tuned.

    Raises:
        ReplayError: the policy is bad.
    """

    def __init__(self, text: str, usual: Mapping[str, Usual], tested: frozenset[str] | None = None) -> None:
        try:
            self.policy = parse_policy(text)
        except ValueError as error:
            raise ReplayError(f"the policy to tune is bad: {error}") from error
        self.raw: dict[str, Any] = yaml.safe_load(text)
        self.usual = dict(usual)
        # Kinds of conditions that an incident has tested; None is all. What none tested is never loosened: its grace, its lag,
        # its limit, its vote. Of a detector nobody knows which of two settings is the looser.
        self.tested = tested

    def text(self) -> str:
        """Return the policy itself, laid out as the tuned ones are."""
        return rendered(self.raw)

    def draw(self, trial: Suggests) -> str:
        """Return a policy's text."""
        conditions = []
        for number, item in enumerate(self.raw["conditions"]):
            ((kind, settings),) = item.items()
            conditions.append(self._condition(trial, number, str(kind), dict(settings)))
        drawn = {**self.raw, "conditions": conditions}
        tripping = len(self.policy.tripping)
        if tripping > 1:
            trip_on = trial.suggest_categorical("trip_on", ["any", "all"])
            pairs = zip(self.raw["conditions"], self.policy.conditions, strict=True)
            kinds = {str(kind) for item, one in pairs if one.action == "trip" for kind in item}
            if trip_on == "all" and not all(map(self._may_loosen, kinds)):
                trip_on = self.policy.trip_on
            if trip_on != "any" or "trip_on" in self.raw:
                drawn["trip_on"] = trip_on
        return rendered(drawn)

    def _condition(self, trial: Suggests, number: int, kind: str, settings: dict[str, Any]) -> dict[str, dict[str, Any]]:
        match self.policy.conditions[number]:
            case Drift() | Anomaly() as policy:
                kinds = _ON_VALUES if self._alone(policy) else {policy.kind}
                return self._detector(trial, f"{number}", settings, kinds, policy)
            case Conformance() as policy:
                drawn = self._rule(trial, f"{number}", settings)
                return self._detector(trial, f"{number}", drawn, {policy.kind}, policy)
        tuner = {"heartbeat": self._heartbeat, "lag": self._lag}.get(kind)
        return {kind: tuner(trial, f"{number}", settings) if tuner else settings}

    def _alone(self, mine: Drift | Anomaly) -> bool:
        """Return whether no other condition judges the values of the same series: two of one kind would have one name."""
        others = [one for one in self.policy.conditions if isinstance(one, Drift | Anomaly) and one is not mine]
        return all(one.series != mine.series for one in others)

    def _detector(
        self, trial: Suggests, name: str, settings: dict[str, Any], kinds: set[Kind], policy: Drift | Anomaly | Conformance
    ) -> dict[str, dict[str, Any]]:
        detection = policy.detector
        if detection.votes or detection.false_trips:
            return {str(policy.kind): settings}
        today = detection.choices[0].name
        fitting = candidates(kinds, detection.width > 0, today)
        place = trial.suggest_float(f"{name}.detector", 0.0, 1.0)
        shares = [trial.suggest_float(f"{name}.{part}", 0.0, 1.0) for part in ("first", "second", "third")]
        chosen = fitting[min(int(place * len(fitting)), len(fitting) - 1)]
        if chosen not in DRAWN:
            return {str(policy.kind): settings}
        own = {"series", *type(policy).model_fields} - {"detector"}
        kept = {key: value for key, value in settings.items() if key in own or (chosen == today and key != "detector")}
        drawn = {parameter: bounds.at(share) for (parameter, bounds), share in zip(DRAWN[chosen].items(), shares, strict=False)}
        return {str(find(chosen).kind): {**kept, "detector": chosen, **drawn}}

    def _rule(self, trial: Suggests, name: str, settings: dict[str, Any]) -> dict[str, Any]:
        drawn = dict(settings)
        match = _RULE.match(str(settings.get("rule", "")))
        usual = self.usual.get(settings["series"])
        if match is not None and usual is not None:
            away = trial.suggest_float(f"{name}.away", 0.3, 12.0, log=True) * usual.spread
            below = match[1].startswith("<")
            limit = usual.value + away if below else usual.value - away
            if not self._may_loosen("conformance"):
                limit = (min if below else max)(limit, float(match[2]))
            drawn["rule"] = f"value {match[1]} {short(limit)}"
        window = trial.suggest_categorical(f"{name}.window", [2, 3, 4, 5, 8, 10, 15, 20, 50, 100])
        misses = min(window, trial.suggest_int(f"{name}.misses", 1, 8))
        over = (misses - 0.5) / window
        if not self._may_loosen("conformance"):
            over = min(over, float(settings.get("over", Conformance.model_fields["over"].default)))
        return {**drawn, "window": window, "over": short(over)}

    def _heartbeat(self, trial: Suggests, name: str, settings: dict[str, Any]) -> dict[str, Any]:
        grace_ms = _scaled(settings["grace"], self._factor(trial, "heartbeat", f"{name}.grace", 0.25, 4.0))
        every_ms = parse_duration_ms(settings.get("every", "1s"))
        return {**settings, "grace": format_ms(max(every_ms, grace_ms))}

    def _may_loosen(self, kind: str) -> bool:
        return self.tested is None or kind in self.tested

    def _factor(self, trial: Suggests, kind: str, name: str, low: float, high: float) -> float:
        """Return a factor of a setting that larger values loosen."""
        drawn = trial.suggest_float(name, low, high, log=True)
        return drawn if self._may_loosen(kind) else min(drawn, 1.0)

    def _lag(self, trial: Suggests, name: str, settings: dict[str, Any]) -> dict[str, Any]:
        allowed = int(int(settings["allowed"]) * self._factor(trial, "lag", f"{name}.allowed", 0.1, 10.0))
        behind_ms = _scaled(settings["behind"], self._factor(trial, "lag", f"{name}.behind", 0.2, 5.0))
        return {**settings, "allowed": allowed, "behind": format_ms(behind_ms)}


def _scaled(duration: str, factor: float) -> int:
    return max(100, round(parse_duration_ms(duration) * factor / 100) * 100)


def rendered(raw: Mapping[str, Any]) -> str:
    """Return a policy as text: a line for each setting and condition, so that a diff shows what changed."""
    lines = []
    for key, value in raw.items():
        if key == "conditions":
            lines += ["conditions:", *(f"  - {_flow(item)}" for item in value)]
        else:
            lines.append(f"{key}: {_flow(value)}")
    return "\n".join(lines) + "\n"


def _flow(value: Any) -> str:
    if isinstance(value, dict) and len(value) == 1 and isinstance(next(iter(value.values())), dict):
        ((kind, settings),) = value.items()
        return f"{kind}: {_flow(settings)}"
    return str(yaml.safe_dump(value, default_flow_style=True, sort_keys=False, width=10_000)).removesuffix("\n...\n").strip()
