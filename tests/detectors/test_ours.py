"""Our detectors are found by name, and imported when they are asked for."""

from __future__ import annotations

import subprocess
import sys
from importlib import import_module
from pathlib import Path

import pytest
from patience import patient

import failshut_detectors
from failshut_detectors.contract import Contract
from failshut_detectors.ours import PLACES, Ours

METHODS = Path(failshut_detectors.__path__[0]) / "methods"


@pytest.mark.parametrize("name", PLACES)
def test_a_detector_calls_itself_what_the_table_calls_it(name: str) -> None:
    """Its name in a policy is the name that its alarms and snapshots have."""
    cls = Ours(PLACES)[name]
    assert issubclass(cls, Contract)
    assert cls.name == name


def test_no_method_is_left_out() -> None:
    """Every file of methods/ is in the table, and every class is a name of the package."""
    files = {f"failshut_detectors.methods.{path.stem}" for path in METHODS.glob("[!_]*.py")}
    assert files <= {module for module, _ in PLACES.values()}
    for module, cls in PLACES.values():
        assert cls in failshut_detectors.__all__
        assert getattr(failshut_detectors, cls) is getattr(import_module(module), cls)


def test_a_name_that_is_none_is_no_attribute() -> None:
    """What the package does not have is missing, as in any module."""
    with pytest.raises(AttributeError, match="Nothing"):
        _ = failshut_detectors.Nothing


def test_the_names_cost_no_library() -> None:
    """Who lists names, or reads a policy with a heartbeat alone, waits for neither river nor scipy nor numpy."""
    code = """
import sys
from failshut_breakers.policy.policy import parse_policy
from failshut_detectors import registry
registry.names()
parse_policy("gate: a.b\\npermit: {ttl: 3s}\\nconditions: [{heartbeat: {source: a, grace: 3s}}]\\nsubjects: ['*']\\n")
print(sorted({"numpy", "river", "scipy", "sqlalchemy"} & sys.modules.keys()))
"""
    ended = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=patient(60), check=True)
    assert ended.stdout.splitlines() == ["[]"]


def test_all_can_be_loaded_at_once() -> None:
    """After that, asking for one imports nothing: a broken package is found before anything is decided."""
    ours = Ours({**PLACES, "lost": ("failshut_detectors.nowhere", "Lost")})
    with pytest.raises(ImportError, match="nowhere"):
        ours.load()
    del ours["lost"]
    ours.load()
    assert None not in ours._classes.values()
