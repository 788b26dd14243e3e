"""Modules that moved are found under their former names for one version, with a warning.

Version 0.2 put the files of each package into rooms. A service, a test or a script that imports a module by its name in 0.1
runs until 0.3. `forward` finds modules that moved. `attributes` finds what was in a module that is now a room. Nothing of
ours uses a former name. What changed its content, not only its place, is not found.
"""

from __future__ import annotations

import importlib
import sys
import warnings
from collections.abc import Callable, Mapping, Sequence
from importlib.abc import Loader, MetaPathFinder
from importlib.machinery import ModuleSpec
from types import ModuleType
from typing import Any, Final

MOVED: Final = {
    "address": "failshut.network.address",
    "bounded": "failshut.store.answers",
    "connection": "failshut.store.connection",
    "keys": "failshut.store.names",
    "keysource": "failshut.background.key_source",
    "later": "failshut.admission.unfinished",
    "naming": "failshut.admission.subjects",
    "outcomes": "failshut.background.outcomes",
    "reporter": "failshut.background.reporter",
    "store_address": "failshut.store.address",
    "store_state": "failshut.store.state",
    "tls": "failshut.network.tls",
    "watcher": "failshut.background.watcher",
}
"""What this package's own modules were called in 0.1, and where they are now."""


class _Moved(MetaPathFinder, Loader):
    """Finds modules by their former names; a module is the same object under both."""

    def __init__(self, package: str, moved: Mapping[str, str]) -> None:
        self._package, self._moved = package, moved

    def find_spec(self, fullname: str, path: Sequence[str] | None, target: ModuleType | None = None) -> ModuleSpec | None:
        package, _, name = fullname.partition(".")
        return ModuleSpec(fullname, self) if package == self._package and name in self._moved else None

    def create_module(self, spec: ModuleSpec) -> ModuleType | None:
        return None

    def exec_module(self, module: ModuleType) -> None:
        """Put the module itself in the place of the empty one. Raises ImportError where it cannot be imported."""
        former = module.__name__
        name = self._moved[former.partition(".")[2]]
        _warn(former, name)
        sys.modules[former] = importlib.import_module(name)


def forward(package: str, moved: Mapping[str, str]) -> None:
    """Find moved modules of a package: from the name in the package to the whole name of today."""
    sys.meta_path.insert(0, _Moved(package, moved))  # before what would find a copy in a package that was renamed


def attributes(room: str, *modules: str) -> Callable[[str], Any]:
    """Return a `__getattr__` for a room that was a module: it looks in the modules that the former one became."""

    def found(name: str) -> Any:
        """Find it in the modules. Raises AttributeError where none of the modules has such a name."""
        for module in () if name.startswith("__") else modules:
            there = importlib.import_module(f"{room}.{module}")
            if hasattr(there, name):
                _warn(f"{room}.{name}", f"{room}.{module}.{name}")
                return getattr(there, name)
        raise AttributeError(f"module {room!r} has no attribute {name!r}")

    return found


def _warn(former: str, name: str) -> None:
    warnings.warn(f"{former} is {name} since 0.2; the former name goes with 0.3", DeprecationWarning, stacklevel=3)
