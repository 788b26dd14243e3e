"""Exact average run lengths of CUSUM, EWMA and MEWMA charts on independent normal values.

The average run length (ARL) is the mean number of records until a chart speaks: long while nothing has changed, short
afterwards. For all of them it solves a Fredholm integral equation of the second kind. Gauss-Legendre quadrature turns
that into a few dozen linear equations (Nystroem's method), exact to many digits.

Sources: E. S. Page, Continuous Inspection Schemes, Biometrika 41 (1954), the equation for CUSUM; D. Brook and D. A.
Evans, An approach to the probability distribution of CUSUM run length, Biometrika 59 (1972); S. V. Crowder, A Simple
Method for Studying Run-Length Distributions of EWMA Charts, Technometrics 29 (1987); K. W. Kemp, The
Average Run Length of the Cumulative Sum Chart when a V-Mask is Used, J. R. Stat. Soc. B 23 (1961), the rule
1/ARL = 1/ARL(up) + 1/ARL(down) for the two-sided CUSUM; S. E. Rigdon, An integral equation for the in-control average
run length of a multivariate exponentially weighted moving average control chart, J. Stat. Comput. Simulation 52 (1995).

Everything is in standard deviations of the values. Limits: known mean and standard deviation; estimated
ones shorten the true run lengths.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import cache, lru_cache
from math import erf, inf, log, sqrt

import numpy as np
from numpy.typing import NDArray
from scipy.optimize import brentq
from scipy.special import chdtri, ive

_NODES = 80
_ARL_MAX, _MEWMA_ARL_MAX = 1e15, 1e12
_WEIGHT_MIN = 0.01  # of a MEWMA chart: below it so few nodes do not see what a record adds


def cusum_arl(reference: float, decision: float, shift: float = 0.0) -> float:
    """Return the ARL from zero of a one-sided CUSUM max(0, S + z - reference) that speaks above `decision`, z of mean `shift`.

    >>> round(cusum_arl(0.5, 4.0), 1), round(cusum_arl(0.5, 4.0, 1.0), 2)
    (335.4, 8.38)
    """
    if decision <= 0:
        raise ValueError(f"decision is {decision}, must be positive")
    nodes, weights = _quadrature(0.0, decision)
    # Unknowns: the run length from 0, then from each node. Being at or below 0 puts the sum at 0.
    start = np.concatenate([[0.0], nodes])
    kernel = np.empty((_NODES + 1, _NODES + 1))
    kernel[:, 0] = _cdf(reference - start - shift)
    kernel[:, 1:] = weights * _density(nodes[None, :] + reference - start[:, None] - shift)
    return float(np.linalg.solve(np.eye(_NODES + 1) - kernel, np.ones(_NODES + 1))[0])


def two_sided_cusum_arl(reference: float, decision: float, shift: float = 0.0) -> float:
    """Return the ARL of an upward and a downward CUSUM run together.

    >>> round(two_sided_cusum_arl(0.5, 4.0)), round(two_sided_cusum_arl(0.5, 5.0))
    (168, 465)
    """
    up, down = cusum_arl(reference, decision, shift), cusum_arl(reference, decision, -shift)
    return 1.0 / (1.0 / up + 1.0 / down)


def ewma_arl(weight: float, limit: float, shift: float = 0.0) -> float:
    """Return the ARL of a two-sided EWMA chart that speaks outside `limit` times its asymptotic standard deviation.

    >>> round(ewma_arl(0.1, 2.814), 0), round(ewma_arl(0.1, 2.814, 1.0), 1)
    (500.0, 10.3)
    """
    if not 0 < weight <= 1 or limit <= 0:
        raise ValueError(f"weight is {weight}, must be above 0 and at most 1; limit is {limit}, must be positive")
    bound = limit * sqrt(weight / (2.0 - weight))
    nodes, weights = _quadrature(-bound, bound)
    start = np.concatenate([[0.0], nodes])
    kernel = weights / weight * _density((nodes[None, :] - (1.0 - weight) * start[:, None]) / weight - shift)
    inside = np.linalg.solve(np.eye(_NODES) - kernel[1:], np.ones(_NODES))
    return float(1.0 + kernel[0] @ inside)


def mewma_arl(weight: float, limit: float, width: int) -> float:
    """Return the ARL without a change of a MEWMA chart of `width` metrics that speaks beyond `limit` asymptotic deviations.

    `limit` is a distance; tables give its square.

    >>> round(mewma_arl(0.1, sqrt(8.64), 2)), round(mewma_arl(0.25, sqrt(16.38), 4))
    (201, 500)
    """
    if not _WEIGHT_MIN <= weight <= 1 or limit <= 0:
        raise ValueError(f"weight is {weight}, must be from {_WEIGHT_MIN} to 1; limit is {limit}, must be positive")
    nodes, weights = _quadrature(0.0, limit * sqrt(weight / (2.0 - weight)))
    # In steps of `weight`: the average's length is a chi value around what is left of the one before.
    left = np.maximum(1e-6, (1.0 - weight) / weight * np.concatenate([[0.0], nodes]))[:, None]
    next_ = nodes / weight
    half = width / 2.0 - 1.0
    density = next_ * (next_ / left) ** half * np.exp(-0.5 * (next_ - left) ** 2) * ive(half, left * next_)
    kernel = weights / weight * density
    inside = np.linalg.solve(np.eye(_NODES) - kernel[1:], np.ones(_NODES))
    return float(1.0 + kernel[0] @ inside)


@lru_cache(maxsize=64)
def cusum_decision(arl: float, reference: float = 0.5) -> float:
    """Return the decision interval with which a two-sided CUSUM has this ARL while nothing changes.

    >>> round(cusum_decision(465.4), 2)
    5.0
    """
    return _solve(lambda decision: cusum_arl(reference, decision) / 2.0, arl, 0.05, 60.0)


@lru_cache(maxsize=64)
def ewma_limit(arl: float, weight: float = 0.1) -> float:
    """Return the limit with which a two-sided EWMA chart has this ARL while nothing changes.

    >>> round(ewma_limit(500.0), 2)
    2.81
    """
    return _solve(lambda limit: ewma_arl(weight, limit), arl, 0.5, 9.0)


@lru_cache(maxsize=64)
def mewma_limit(arl: float, weight: float, width: int) -> float:
    """Return the limit with which a MEWMA chart of `width` metrics has this ARL while nothing changes.

    >>> round(mewma_limit(500.0, 0.25, 4) ** 2, 2)
    16.38
    """
    if not 2.0 <= arl <= _MEWMA_ARL_MAX:
        raise ValueError(f"an ARL of {arl} records is out of reach: 2 to {_MEWMA_ARL_MAX:.0e}")

    def beyond(limit: float) -> float:
        found = mewma_arl(weight, limit, width)
        return log(found / arl) if found > 0.0 else 99.0  # nonsense, for a limit that is too high

    # A chart without memory has the highest limit of all.
    return float(brentq(beyond, 0.01, sqrt(float(chdtri(width, 1.0 / arl))) + 0.01, xtol=1e-10))


def _solve(arl_of: Callable[[float], float], arl: float, low: float, high: float) -> float:
    """Return where `arl_of` is `arl`, between two bounds: false position (Illinois) on nearly straight logarithms."""
    least = arl_of(low)
    if not least <= arl <= _ARL_MAX:
        raise ValueError(f"an ARL of {arl} records is out of reach: {least:.3g} to {_ARL_MAX:.0e}")
    below = log(arl / least)
    above, side = 0.0, 0  # how far the upper bound's logarithm lies beyond, once it is known; which bound moved last
    for _ in range(100):
        middle = (low * above + high * below) / (below + above) if above else (low + high) / 2.0
        found = arl_of(middle)
        # Beyond the largest float's precision the equations give nonsense, always for a limit that is too high.
        short = log(arl / found) if 0.0 < found < _ARL_MAX * 1e3 else -inf
        if abs(short) < 1e-12 or high - low < 1e-12:
            return middle
        if short > 0:
            low, below, above, side = middle, short, above / 2.0 if side > 0 else above, 1
        else:
            high, above, below, side = middle, -short if short > -inf else 0.0, below / 2.0 if side < 0 else below, -1
    return (low + high) / 2.0


def _quadrature(low: float, high: float) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    nodes, weights = _legendre()
    half = (high - low) / 2.0
    return low + half * (nodes + 1.0), half * weights


@cache
def _legendre() -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Return nodes and weights on -1 to 1: to find them costs as much as ten of the equations."""
    nodes, weights = np.polynomial.legendre.leggauss(_NODES)
    nodes.setflags(write=False)
    weights.setflags(write=False)
    return nodes, weights


def _density(z: NDArray[np.float64]) -> NDArray[np.float64]:
    return np.exp(-0.5 * z * z) / sqrt(2.0 * np.pi)


def _cdf(z: NDArray[np.float64]) -> NDArray[np.float64]:
    return np.array([0.5 * (1.0 + erf(value / sqrt(2.0))) for value in z])
