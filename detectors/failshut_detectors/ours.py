"""Our detectors by name, each imported when it is first asked for.

river and scipy take seconds of CPU time to import. A command that lists gates, and a policy with a heartbeat alone, ask for no
detector and pay nothing. A worker pays when it starts (`load`), so that no gate waits for an import, and a package that is
broken stops the worker before it decides anything.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, MutableMapping
from importlib import import_module
from typing import Final

from failshut_detectors.contract import Contract

#: A policy's name for a detector -> its module and its class.
PLACES: Final[Mapping[str, tuple[str, str]]] = {
    "adwin": ("failshut_detectors.methods.adwin", "Adwin"),
    "bernoulli_cusum": ("failshut_detectors.methods.bernoulli_cusum", "BernoulliCusum"),
    "cusum": ("failshut_detectors.methods.cusum", "Cusum"),
    "ddm": ("failshut_detectors.methods.ddm", "Ddm"),
    "eddm": ("failshut_detectors.methods.eddm", "Eddm"),
    "ewma": ("failshut_detectors.methods.ewma", "Ewma"),
    "false_trip_budget": ("failshut_detectors.budget", "FalseTripBudget"),
    "fhddm": ("failshut_detectors.methods.fhddm", "Fhddm"),
    "half_space_trees": ("failshut_detectors.methods.half_space_trees", "HalfSpaceTrees"),
    "hddm_a": ("failshut_detectors.methods.hddm_a", "HddmA"),
    "hddm_w": ("failshut_detectors.methods.hddm_w", "HddmW"),
    "kswin": ("failshut_detectors.methods.kswin", "Kswin"),
    "local_seasonal": ("failshut_detectors.methods.local_seasonal", "LocalSeasonal"),
    "mahalanobis": ("failshut_detectors.methods.mahalanobis", "Mahalanobis"),
    "mewma": ("failshut_detectors.methods.mewma", "Mewma"),
    "page_hinkley": ("failshut_detectors.methods.page_hinkley", "PageHinkley"),
    "seasonal_record": ("failshut_detectors.methods.seasonal", "SeasonalRecord"),
    "standard_absolute_deviation": ("failshut_detectors.methods.standard_deviation", "StandardAbsoluteDeviation"),
}


class Ours(MutableMapping[str, type[Contract]]):
    """Classes by name. It can be changed, for tests.

    Raises:
        ImportError: on the first look at a detector whose package is not there.
    """

    def __init__(self, places: Mapping[str, tuple[str, str]]) -> None:
        self._classes: dict[str, type[Contract] | None] = dict.fromkeys(places)
        self._places = places

    def __getitem__(self, name: str) -> type[Contract]:
        cls = self._classes[name]
        if cls is None:
            module, attribute = self._places[name]
            cls = self._classes[name] = getattr(import_module(module), attribute)
        return cls

    def __setitem__(self, name: str, cls: type[Contract]) -> None:
        self._classes[name] = cls

    def __delitem__(self, name: str) -> None:
        del self._classes[name]

    def __contains__(self, name: object) -> bool:
        return name in self._classes

    def __iter__(self) -> Iterator[str]:
        return iter(self._classes)

    def __len__(self) -> int:
        return len(self._classes)

    def load(self) -> None:
        """Import every detector now."""
        for name in self._classes:
            self[name]


OURS: Final = Ours(PLACES)
