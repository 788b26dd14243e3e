"""How the suite looks into a detector: which clocks and chances it calls, how large it is, whether another process reads it.

This file talks to the interpreter and to a process of its own, which no detector may.
"""

from __future__ import annotations

import gc
import os
import pickle
import random
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from types import CodeType, FrameType, FunctionType, ModuleType
from typing import Any

import numpy

_CLOCKS = (
    *("time", "time_ns", "monotonic", "monotonic_ns", "perf_counter", "perf_counter_ns"),
    *("process_time", "process_time_ns", "thread_time", "thread_time_ns", "clock_gettime", "clock_gettime_ns"),
)
_OTHERS = {"localtime", "ctime", "sleep", "now", "utcnow", "today", "urandom", "getrandom"}
_MOVED = ("time", "monotonic", "perf_counter")
_SHIFT_SECONDS = 3 * 86_400 + 12_345
_FRESH_SECONDS_MAX = 120
_SHARED = (type, ModuleType, FunctionType, CodeType)

_FRESH = """
import pickle, sys
path, state, records, times_ms = pickle.load(sys.stdin.buffer)
sys.path[:] = path
detector = pickle.loads(state)
alarms = [(alarm.index, alarm.text) for alarm in detector.feed(records, times_ms)]
sys.stdout.buffer.write(pickle.dumps((alarms, detector.summary())))
"""


def watched(run: Callable[[], object]) -> str:
    """Run something and return which clock or source of chance it called first; nothing where it called none."""
    called: list[str] = []

    def look(frame: FrameType, event: str, argument: Any) -> None:
        if not called:
            name = _builtin(argument) if event == "c_call" else _function(frame) if event == "call" else ""
            if name:
                called.append(name)

    before, drawn = sys.getprofile(), pickle.dumps(numpy.random.get_state())
    others, gc.callbacks[:] = gc.callbacks[:], []  # what whoever runs us does at each collection is not the detector's
    sys.setprofile(look)
    try:
        run()
    finally:
        sys.setprofile(before)
        gc.callbacks[:] = others
    if not called and pickle.dumps(numpy.random.get_state()) != drawn:
        return "numpy.random of the module"
    return called[0] if called else ""


def _builtin(function: Any) -> str:
    owner = getattr(function, "__self__", None)
    name = getattr(function, "__name__", "")
    if owner is time and name in (*_CLOCKS, "localtime", "ctime", "sleep"):
        return f"time.{name}"
    if name in _OTHERS and getattr(owner, "__module__", getattr(owner, "__name__", "")) in ("datetime", "posix", "nt"):
        return f"{getattr(owner, '__name__', owner)}.{name}"
    if owner is _GLOBAL_RANDOM:
        return f"random.{name} of the module"
    return ""


def _function(frame: FrameType) -> str:
    module = frame.f_globals.get("__name__")
    if module in ("uuid", "secrets"):
        return f"{module}.{frame.f_code.co_name}"
    if module == "random" and frame.f_locals.get("self") is _GLOBAL_RANDOM:
        return f"random.{frame.f_code.co_name} of the module"
    return ""


_GLOBAL_RANDOM = random.random.__self__  # type: ignore[attr-defined] # a method of the module's own instance


@contextmanager
def clock_moved() -> Iterator[None]:
    """Move the clocks of the module `time` some days ahead."""
    before = {name: getattr(time, name) for moved in _MOVED for name in (moved, f"{moved}_ns")}
    for name, clock in before.items():
        shift = _SHIFT_SECONDS * 10**9 if name.endswith("_ns") else _SHIFT_SECONDS
        setattr(time, name, lambda clock=clock, shift=shift: clock() + shift)
    try:
        yield
    finally:
        for name, clock in before.items():
            setattr(time, name, clock)


def deep_size(thing: object) -> int:
    """Return the bytes of everything that hangs on an object, each thing once, without classes, modules and functions."""
    seen: dict[int, object] = {}
    total, waiting = 0, [thing]
    while waiting:
        new = {id(one): one for one in waiting if id(one) not in seen and not isinstance(one, _SHARED)}
        seen |= new
        total += sum(map(sys.getsizeof, new.values()))
        waiting = gc.get_referents(*new.values())
    return total


def in_a_fresh_process(state: bytes, records: Sequence[Any], times_ms: Sequence[int] | None) -> object:
    """Return alarms and summary of a new process, with other string hashes, that goes on from a state; or its last words."""
    ended = subprocess.run(
        [sys.executable, "-c", _FRESH],
        input=pickle.dumps((sys.path, state, list(records), times_ms)),
        env={**os.environ, "PYTHONHASHSEED": "4711"},
        capture_output=True,
        timeout=_FRESH_SECONDS_MAX,
        check=False,
    )
    if ended.returncode:
        return ended.stderr.decode(errors="replace").strip().splitlines()[-1:]
    return pickle.loads(ended.stdout)  # noqa: S301 - written by the process just started
