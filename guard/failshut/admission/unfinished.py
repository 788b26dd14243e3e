"""Results whose work has not been done yet: what a guarded function must not return.

An execution ends when its function returns. A function that returns a coroutine, a generator, a future or a lazy iterator
returns work that runs later. By then the gate may be closed, and the outcome is already reported. Such a result is stopped, as
far as it can be, and refused by `RunsLater`.

Limits: a result is looked at, and what lists, tuples, sets, dicts, their views and queues in it hold, up to 1,000 elements in
all. So are the fields of a dataclass, a namespace and the standard library's wrappers, but of none inside another: a record may
refer to a service whose own tasks are nobody's result. A function, any other object of one's own, or work that was handed to
another process looks like any other value. Files are iterators whose work is done.
"""

from __future__ import annotations

import functools
import inspect
import io
from asyncio import Handle
from collections import ChainMap, UserDict, UserList, deque
from collections.abc import AsyncIterator, Callable, Iterable, Iterator
from concurrent.futures import Future
from contextlib import aclosing, closing, suppress
from dataclasses import fields, is_dataclass
from itertools import chain, islice
from queue import Queue
from threading import Thread
from types import MappingProxyType, SimpleNamespace
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
    free = [True]  # whether it stands in no field yet
    for one, freely in zip(found, free, strict=False):  # both grow meanwhile; what holds itself grows them to the bound
        held = [(parts, freely) for kind, parts in _CONTAINERS if isinstance(one, kind)]
        if freely and not isinstance(one, type) and (isinstance(one, _HOLDERS) or is_dataclass(one)):
            held.append((_fields, False))
        for parts, goes_on in held:
            more = list(islice(parts(one), max(0, 1 + ELEMENTS_MAX - len(found))))
            free += [goes_on] * len(more)
            found += more
    return found


def _fields(one: Any) -> Iterator[Any]:
    """Return what stands in an object's fields, read past its own ways of giving them out."""
    with suppress(AttributeError):
        yield from dict.values(object.__getattribute__(one, "__dict__"))
    for field in fields(one) if is_dataclass(one) else ():
        slot = inspect.getattr_static(type(one), field.name, None)
        if inspect.ismemberdescriptor(slot):
            with suppress(AttributeError):
                yield slot.__get__(one)


_KEYS: Final[type] = type({}.keys())
_VALUES: Final[type] = type({}.values())
_ITEMS: Final[type] = type({}.items())

#: Containers, and what they hold: asked of the types themselves, so that no method of a subclass runs.
_CONTAINERS: Final[tuple[tuple[type, Callable[[Any], Iterable[Any]]], ...]] = (
    (list, list.__iter__),
    (tuple, tuple.__iter__),
    (set, set.__iter__),
    (frozenset, frozenset.__iter__),
    (deque, deque.__iter__),
    (dict, lambda one: chain(dict.values(one), dict.keys(one))),
    (_KEYS, iter),
    (_VALUES, iter),
    (_ITEMS, iter),
    (MappingProxyType, lambda one: chain.from_iterable(one.items())),
)

#: What keeps its elements in a field.
_HOLDERS: Final = (UserDict, UserList, ChainMap, Queue, SimpleNamespace, closing, aclosing)


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
    if inspect.isasyncgenfunction(getattr(type(one), "__aiter__", None)):  # it acts when somebody goes through it
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
