"""What moved in 0.2 is found under its former name until 0.3, with a warning."""

from __future__ import annotations

import importlib

import pytest

PACKAGES = ("failshut", "failshut_breakers", "failshut_streams", "failshut_replay")
MOVED = [
    (f"{package}.{former}", name)
    for package in PACKAGES
    for former, name in importlib.import_module(
        "failshut.former_names" if package == "failshut" else f"{package}.moved"
    ).MOVED.items()
]
ROOMS = [
    ("failshut.store", "Store"),
    ("failshut_breakers.evidence", "Samples"),
    ("failshut_breakers.policy", "parse_policy"),
    ("failshut_breakers.gate", "Gate"),
    ("failshut_breakers.store", "Store"),
    ("failshut_replay.recording", "Evidence"),
    ("failshut_streams.control", "ControlCutter"),
    ("failshut_streams.control", "ControlReader"),
    ("failshut_streams.router", "Router"),
]


@pytest.mark.parametrize(("former", "name"), MOVED)
def test_a_moved_module_is_the_same_under_its_former_name(former: str, name: str) -> None:
    """Not a copy: a class from there is the class from here."""
    assert importlib.import_module(former) is importlib.import_module(name)


@pytest.mark.parametrize(("room", "name"), ROOMS)
def test_what_was_in_a_module_that_is_a_room_now_is_found(room: str, name: str) -> None:
    """With a word about where it is."""
    with pytest.warns(DeprecationWarning, match=f"{room}.{name} is"):
        assert getattr(importlib.import_module(room), name) is not None


def test_what_never_was_is_not_found() -> None:
    """Neither a module nor a name."""
    with pytest.raises(ModuleNotFoundError):
        importlib.import_module("failshut_streams.never_was")
    with pytest.raises(ImportError):
        exec("from failshut_breakers.evidence import NeverWas")
