"""Exact average run lengths of CUSUM and EWMA charts on independent normal values.

The average run length (ARL) is the mean number of records until a chart speaks: long while nothing has changed, short
afterwards. For both charts it solves a Fredholm integral equation of the second kind; Gauss-Legendre quadrature
turns that into a few dozen linear equations (Nystroem's method), exact to many digits.

Sources: E. S. Page, Continuous Inspection Schemes, Biometrika 41 (1954), the equation for CUSUM; D. Brook and D. A.
Evans, An approach to the probability distribution of CUSUM run length, Biometrika 59 (1972); S. V. Crowder, A Simple
Method for Studying Run-Length Distributions of EWMA Charts, Technometrics 29 (1987); K. W. Kemp, The
Average Run Length of the Cumulative Sum Chart when a V-Mask is Used, J. R. Stat. Soc. B 23 (1961), the rule
1/ARL = 1/ARL(up) + 1/ARL(down) for the two-sided CUSUM.

Everything is in standard deviations of the values. Limits: known mean and standard deviation; estimated
ones shorten the true run lengths.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import lru_cache
from math import erf, sqrt

import numpy as np
from numpy.typing import NDArray

_NODES = 80
_ARL_MAX = 1e15


def cusum_arl(reference: float, decision: float, shift: float = 0.0) -> float:
    """ARL from zero of a one-sided CUSUM max(0, S + z - reference) that speaks above `decision`, z of mean `shift`.

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
    """ARL of an upward and a downward CUSUM run together.

    >>> round(two_sided_cusum_arl(0.5, 4.0)), round(two_sided_cusum_arl(0.5, 5.0))
    (168, 465)
    """
    up, down = cusum_arl(reference, decision, shift), cusum_arl(reference, decision, -shift)
    return 1.0 / (1.0 / up + 1.0 / down)


def ewma_arl(weight: float, limit: float, shift: float = 0.0) -> float:
    """ARL of a two-sided EWMA chart that speaks outside `limit` times its asymptotic standard deviation.

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


@lru_cache(maxsize=64)
def cusum_decision(arl: float, reference: float = 0.5) -> float:
    """The decision interval with which a two-sided CUSUM has this ARL while nothing changes.

    >>> round(cusum_decision(465.4), 2)
    5.0
    """
    return _solve(lambda decision: two_sided_cusum_arl(reference, decision), arl, 0.05, 60.0)


@lru_cache(maxsize=64)
def ewma_limit(arl: float, weight: float = 0.1) -> float:
    """The limit with which a two-sided EWMA chart has this ARL while nothing changes.

    >>> round(ewma_limit(500.0), 2)
    2.81
    """
    return _solve(lambda limit: ewma_arl(weight, limit), arl, 0.5, 9.0)


def _solve(arl_of: Callable[[float], float], arl: float, low: float, high: float) -> float:
    if not arl_of(low) <= arl <= _ARL_MAX:
        raise ValueError(f"an ARL of {arl} records is out of reach: {arl_of(low):.3g} to {_ARL_MAX:.0e}")
    for _ in range(60):
        middle = (low + high) / 2.0
        found = arl_of(middle)
        # Beyond the largest float's precision the equations give nonsense, always for a limit that is too high.
        if 0.0 < found < arl:
            low = middle
        else:
            high = middle
    return (low + high) / 2.0


def _quadrature(low: float, high: float) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    nodes, weights = np.polynomial.legendre.leggauss(_NODES)
    half = (high - low) / 2.0
    return low + half * (nodes + 1.0), half * weights


def _density(z: NDArray[np.float64]) -> NDArray[np.float64]:
    return np.exp(-0.5 * z * z) / sqrt(2.0 * np.pi)


def _cdf(z: NDArray[np.float64]) -> NDArray[np.float64]:
    return np.array([0.5 * (1.0 + erf(value / sqrt(2.0))) for value in z])
