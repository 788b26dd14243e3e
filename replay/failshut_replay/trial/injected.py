"""Incidents that are put into a series where it is quiet, to see whether a gate closes, and after how long.

Nine kinds on values: up by half, double, triple, to half, to zero; a ramp to double; four times the deviation from a moving
average; the last value for ever; and up by half for a moment, followed half an incident later by zero. On events (0 or 1)
there are four: 5, 10, 50 and 100 % of them turn bad.
"""

from __future__ import annotations

import random

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]

KINDS = ("up by half", "double", "triple", "to half", "to zero", "ramp", "variance", "stuck", "second")
SHARES = {"5 % bad": 0.05, "10 % bad": 0.1, "50 % bad": 0.5, "all bad": 1.0}
_FACTORS = {"up by half": 1.5, "double": 2.0, "triple": 3.0, "to half": 0.5, "to zero": 0.0}


def length_of(kind: str, an_hour: int) -> int:
    """Return for how many readings an incident lasts, where `an_hour` is the usual number."""
    return 2 * an_hour if kind == "ramp" else an_hour * 3 // 2 if kind == "second" else an_hour


def begins(kind: str, an_hour: int) -> int:
    """Return the reading of an incident with which what is to be noticed begins."""
    return an_hour // 2 if kind == "second" else 0


def injected(kind: str, values: Floats, at: int, an_hour: int) -> Floats:
    """Return the readings from `at` on as they are with an incident of a kind, for as long as it lasts.

    Args:
        kind: one of `KINDS` or `SHARES`.
        values: the whole series. It must go on behind `at` for `length_of` readings and an hour more.
        at: where the incident begins: 1 or later.
        an_hour: how many readings an incident lasts.
    """
    length = length_of(kind, an_hour)
    changed = values[at : at + length].copy()
    if kind in _FACTORS:
        return changed * _FACTORS[kind]
    if kind in SHARES:
        rng = random.Random(at)
        good = round(float(np.median(values)))
        return np.array([1.0 - good if rng.random() < SHARES[kind] else value for value in changed])
    if kind == "ramp":
        return changed * (1.0 + np.arange(length) / length)
    if kind == "variance":
        width = max(3, an_hour // 4)
        around = values[max(0, at - width) : at + length + width]
        smooth = np.convolve(around, np.ones(width) / width, "same")[min(at, width) :][:length]
        return smooth + 4.0 * (changed - smooth)
    if kind == "stuck":
        return np.full(length, values[at - 1])
    changed[: max(1, an_hour // 6)] *= 1.5
    changed[an_hour // 2 :] = 0.0
    return changed
