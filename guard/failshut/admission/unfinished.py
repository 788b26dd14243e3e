"""Results whose work has not been done yet: what a guarded function must not return.

An execution ends when its function returns. A function that returns a coroutine, a generator, a future or a lazy iterator
returns work that runs later. By then the gate may be closed, and the outcome is already reported. Such a result is stopped, as
far as it can be, and refused by `RunsLater`.

Limits: a result is looked at, and what lists, tuples, sets, dicts and queues in it hold, up to 1,000 elements in all. A
function, an object of one's own, or work that was handed to another process looks like any other value. Files are iterators
whose work is done.
"""

from __future__ import annotations

import functools
import inspect
import io
from asyncio import Handle
from collections import deque
from collections.abc import AsyncIterator, Callable, Iterable, Iterator
from concurrent.futures import Future
from contextlib import suppress
from itertools import chain, islice
from threading import Thread
from typing import Any, Final

ELEMENTS_MAX: Final = 1_000
#: Types of which no value is or holds work. A subclass is another type.
DONE: Final[frozenset[type]] = frozenset({type(None), bool, int, float, complex, str, bytes, bytearray})


class RunsLater(TypeError):
    """A guarded function returned work that would run after its execution had ended. It was stopped."""


def refuse_later(result: Any) -> None:
    """Raise RunsLater where `result` is, or holds, work that is still to be done; stop all of it first."""
    if type(result) in DONE:
        return
    found = [work for one in _elements(result) for work in (_later(one),) if work is not None]
    if not found:
        return
    for work in found:
        _stop(work)
    raise RunsLater(
        f"a guarded function returned {type(found[0]).__name__}, whose work would run after the execution has ended: "
        "guard what does the work, or do it inside `with gate.execution(...)`"
    )


def runs_async(function: Callable[..., Any]) -> bool:
    """Return whether calling gives a coroutine: `async def`, a partial of one, an object with an async `__call__`."""
    return inspect.iscoroutinefunction(function) or inspect.iscoroutinefunction(_call_of(function))


def generates(function: Callable[..., Any]) -> bool:
    """Return whether calling gives a generator, of either kind."""
    return any(inspect.isgeneratorfunction(one) or inspect.isasyncgenfunction(one) for one in (function, _call_of(function)))


def _call_of(function: Callable[..., Any]) -> Any:
    """Return what runs when it is called, behind partials, static methods and objects."""
    while isinstance(function, functools.partial | staticmethod):
        function = function.func if isinstance(function, functools.partial) else function.__func__
    return function if inspect.isroutine(function) or inspect.isclass(function) else type(function).__call__


def _elements(result: Any) -> list[Any]:
    """Return the result and what is in it, however deep, the shallowest first."""
    found: list[Any] = [result]
    for one in found:  # it grows meanwhile; a container that holds itself grows it to the bound
        for kind, parts in _CONTAINERS:
            if isinstance(one, kind):
                found += islice(parts(one), max(0, 1 + ELEMENTS_MAX - len(found)))
    return found


#: Containers, and what they hold: asked of the types themselves, so that no method of a subclass runs.
_CONTAINERS: Final[tuple[tuple[type, Callable[[Any], Iterable[Any]]], ...]] = (
    (list, list.__iter__),
    (tuple, tuple.__iter__),
    (set, set.__iter__),
    (frozenset, frozenset.__iter__),
    (deque, deque.__iter__),
    (dict, lambda one: chain(dict.values(one), dict.keys(one))),
)


def _later(one: Any) -> Any:
    """Return the work that is still to be done in `one`; None where there is none."""
    if isinstance(one, io.IOBase):
        return None
    if inspect.isawaitable(one) or isinstance(one, Iterator | AsyncIterator | Future | Handle):
        return one
    if isinstance(one, Thread):
        return one if one.ident is None or one.is_alive() else None
    if callable(getattr(type(one), "add_done_callback", None)):  # a future of another library
        return one
    generator = getattr(one, "gen", None)  # a context manager that contextlib made of a generator
    return generator if inspect.isgenerator(generator) or inspect.isasyncgen(generator) else None


def _stop(work: Any) -> None:
    """Close or cancel it. What has begun elsewhere may go on; that it could not be stopped changes nothing of the refusal."""
    with suppress(Exception):  # StopIteration among them: an asynchronous generator that is closed
        if inspect.isasyncgen(work):
            work.aclose().send(None)
            return
        for name in ("close", "cancel"):
            stop = getattr(work, name, None)
            if callable(stop):
                stop()
                return
