"""Another detector for the demonstration's drift: `DEMO_DETECTOR=cusum make demo`.

The refund agent's policy uses the named detector, under the condition that it belongs to. Its parameters suit a stream of 50
records a second, on which a false trip would spoil the show.
"""

from __future__ import annotations

from failshut_breakers.policy.policy import PolicyError, parse_policy
from failshut_console.exits import Exit, Trouble
from failshut_detectors.contract import EventDetector, VectorDetector
from failshut_detectors.registry import DetectorError, find, names

LINE = "  - drift: "
"""How the line of the policy begins that is replaced."""

DETECTION_RECORDS = 150
"""Within so many records a detector is expected to speak of amounts that double."""

_SERIES = "refund-agent/amount_eur"
_PARAMETERS = {
    "adwin": "delta: 1e-6",
    "cusum": "arl: 1e+6, learn: 200",
    "ddm": "threshold: 5.5",
    "eddm": "ratio: 0.6",
    "ewma": "arl: 1e+6, learn: 200",
    "half_space_trees": "threshold: 0.97",
    "hddm_a": "confidence: 1e-6",
    "hddm_w": "confidence: 1e-6",
    "kswin": "alpha: 1e-6",
    "local_seasonal": "quiet: 2.0",
    "mahalanobis": "per_records: 1e+6, learn: 100",
    "mewma": "arl: 1e+6, learn: 100",
    "page_hinkley": "threshold: 200.0",
    "seasonal_record": "range_share: 0.5, smoothed_share: 0.5, level_ratio: 3.0, warm_up: 300",
    "standard_absolute_deviation": "sigmas: 6.0",
}


def condition(name: str) -> str:
    """Return the condition with this detector, as it stands in the policy.

    Raises:
        Trouble: there is no such detector.
    """
    try:
        cls = find(name)
    except DetectorError as error:
        raise Trouble(str(error), "nothing was started", f"name one of {', '.join(names())}", Exit.USAGE) from error
    detector = ", ".join(part for part in ("name: amounts", f"detector: {name}", _PARAMETERS.get(name, "")) if part)
    if issubclass(cls, VectorDetector):
        return f"{cls.kind}: {{series: [{_SERIES}, refund-agent/fee_eur], every: 100ms, {detector}}}"
    if issubclass(cls, EventDetector):
        return f'{cls.kind}: {{series: {_SERIES}, rule: "value <= 61", over: 0.99, {detector}}}'
    return f"{cls.kind}: {{series: {_SERIES}, {detector}}}"


def with_detector(policy: str, name: str) -> str:
    """Return the refund agent's policy with another detector.

    Raises:
        Trouble: there is no such detector, or it cannot be had like this.
    """
    lines = [f"  - {condition(name)}" if line.startswith(LINE) else line for line in policy.splitlines()]
    text = "\n".join(lines) + "\n"
    try:
        parse_policy(text)
    except PolicyError as error:
        raise Trouble(f"{name} does not fit the demonstration: {error}", "nothing was started", "name another") from error
    return text


def cause(name: str) -> str:
    """Return what the gate is closed for when this detector speaks; drift where none is named."""
    return str(find(name).kind) if name else "drift"
