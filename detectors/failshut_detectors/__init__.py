"""Online detectors: one pass, constant memory, no clock, no look-ahead. One detector per file."""

from importlib import import_module
from typing import TYPE_CHECKING, Any

from failshut_detectors.contract import Alarm, Contract, Detector, EventDetector, Kind, Reading, Unfit, VectorDetector, number
from failshut_detectors.ours import PLACES

if TYPE_CHECKING:
    from failshut_detectors.budget import FalseTripBudget
    from failshut_detectors.methods.adwin import Adwin
    from failshut_detectors.methods.bernoulli_cusum import BernoulliCusum
    from failshut_detectors.methods.cusum import Cusum
    from failshut_detectors.methods.ddm import Ddm
    from failshut_detectors.methods.eddm import Eddm
    from failshut_detectors.methods.ewma import Ewma
    from failshut_detectors.methods.fhddm import Fhddm
    from failshut_detectors.methods.half_space_trees import HalfSpaceTrees
    from failshut_detectors.methods.hddm_a import HddmA
    from failshut_detectors.methods.hddm_w import HddmW
    from failshut_detectors.methods.kswin import Kswin
    from failshut_detectors.methods.local_seasonal import LocalSeasonal
    from failshut_detectors.methods.mahalanobis import Mahalanobis
    from failshut_detectors.methods.mewma import Mewma
    from failshut_detectors.methods.page_hinkley import PageHinkley
    from failshut_detectors.methods.seasonal import SeasonalRecord
    from failshut_detectors.methods.standard_deviation import StandardAbsoluteDeviation

__all__ = [
    "Adwin",
    "Alarm",
    "BernoulliCusum",
    "Contract",
    "Cusum",
    "Ddm",
    "Detector",
    "Eddm",
    "EventDetector",
    "Ewma",
    "FalseTripBudget",
    "Fhddm",
    "HalfSpaceTrees",
    "HddmA",
    "HddmW",
    "Kind",
    "Kswin",
    "LocalSeasonal",
    "Mahalanobis",
    "Mewma",
    "PageHinkley",
    "Reading",
    "SeasonalRecord",
    "StandardAbsoluteDeviation",
    "Unfit",
    "VectorDetector",
    "number",
]

_MODULES = {cls: module for module, cls in PLACES.values()}


def __getattr__(name: str) -> Any:
    """Import a detector's class when it is first asked for."""
    if name not in _MODULES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(_MODULES[name]), name)
