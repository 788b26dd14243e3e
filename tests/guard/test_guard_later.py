"""What a guarded function hands out to be done later is stopped and refused; an execution is no answer by itself."""

from __future__ import annotations

import asyncio
import concurrent.futures
import contextlib
import functools
import io
import queue
import threading
from collections import ChainMap, UserDict, UserList, defaultdict, deque
from collections.abc import AsyncIterator, Callable, Iterator
from dataclasses import dataclass
from types import MappingProxyType, SimpleNamespace
from typing import Any, NamedTuple
from unittest.mock import Mock

import pytest
from guard.standin import SUBJECT, Monitor, admitted, eventually

from failshut import Execution, Gate, RunsLater

done: list[str] = []


@pytest.fixture(autouse=True)
def _open(monitor: Monitor, gate: Gate) -> None:
    done.clear()
    monitor.issue(ttl_ms=600_000)
    admitted(gate)


async def act() -> None:
    done.append("acted")


def acts() -> Iterator[int]:
    done.append("acted")
    yield 1


async def acts_async() -> AsyncIterator[int]:
    done.append("acted")
    yield 1


def plainly(function: Callable[..., Any]) -> Callable[..., Any]:
    """A decorator that knows nothing of `async`."""

    @functools.wraps(function)
    def wrapper(*args: Any, **kwargs: Any) -> Any:
        return function(*args, **kwargs)

    return wrapper


class Awaitable:
    """Somebody's own."""

    def __await__(self) -> Iterator[None]:
        done.append("acted")
        yield


class Pair(NamedTuple):
    """A result with names."""

    number: int
    work: Any


@dataclass
class Receipt:
    """A result in fields."""

    work: Any
    number: int = 1


@dataclass(slots=True)
class Slotted:
    """The same without a dictionary."""

    work: Any


class Pages:
    """Somebody's own object that acts when it is gone through."""

    async def __aiter__(self) -> AsyncIterator[int]:
        done.append("acted")
        yield 1


def queued(work: Any) -> queue.Queue[Any]:
    line: queue.Queue[Any] = queue.Queue()
    line.put(work)
    return line


class TheirFuture:
    """As gRPC, Dask and others have them."""

    def add_done_callback(self, call: Callable[[Any], None]) -> None:
        """Call when it is done."""

    def cancel(self) -> bool:
        """Stop it."""
        return True


class Rows:
    """Somebody's own iterator."""

    def __iter__(self) -> Rows:
        return self

    def __next__(self) -> int:
        done.append("acted")
        raise StopIteration


@contextlib.contextmanager
def managed() -> Iterator[None]:
    done.append("acted")
    yield


@contextlib.asynccontextmanager
async def managed_async() -> AsyncIterator[None]:
    done.append("acted")
    yield


LATER: dict[str, Callable[[], Any]] = {
    "a decorated async function": plainly(act),
    "a coroutine": lambda: act(),
    "a generator": lambda: acts(),
    "a generator expression": lambda: (done.append("acted") for _ in range(3)),  # type: ignore[func-returns-value]
    "a decorated generator": plainly(acts),
    "an asynchronous generator": lambda: acts_async(),
    "an awaitable": Awaitable,
    "a map": lambda: map(done.append, ["acted"]),
    "a filter": lambda: filter(done.append, ["acted"]),
    "a zip": lambda: zip(acts(), [1], strict=False),
    "an iterator": Rows,
    "a list of coroutines": lambda: [act(), act()],
    "a tuple with one": lambda: (1, act()),
    "a dict of coroutines": lambda: {"a": act()},
    "a context manager": managed,
    "an asynchronous context manager": managed_async,
    "a partial": functools.partial(lambda coroutine: coroutine(), act),
    "a future": lambda: concurrent.futures.Future[None](),
    "a coroutine in lists in a dict": lambda: {"a": [[1], [act()]]},
    "a coroutine in a named tuple": lambda: Pair(1, act()),
    "coroutines in a dict of another kind": lambda: defaultdict(list, a=act()),
    "coroutines that wait in a queue": lambda: deque([act()]),
    "a coroutine as a key": lambda: {act(): 1},
    "a future of another library": lambda: TheirFuture(),
    "the values of a dict": lambda: {"a": act()}.values(),
    "the items of a dict": lambda: {"a": acts()}.items(),
    "a mapping that cannot be changed": lambda: MappingProxyType({"a": act()}),
    "a coroutine in a queue of threads": lambda: queued(act()),
    "a coroutine in a namespace": lambda: SimpleNamespace(work=act()),
    "a coroutine in a dataclass": lambda: Receipt(act()),
    "a generator in a dataclass with slots": lambda: Slotted(acts()),
    "a coroutine in a list in a dataclass": lambda: Receipt([act()]),
    "a dataclass with a coroutine in a list": lambda: [Receipt(act())],
    "a coroutine in a chain of dicts": lambda: ChainMap({"a": act()}),
    "a coroutine in a dict by another name": lambda: UserDict(a=act()),
    "a coroutine in a list by another name": lambda: UserList([act()]),
    "a generator that is to be closed": lambda: contextlib.closing(acts()),
    "what generates asynchronously": Pages,
    "a thread that was not started": lambda: threading.Thread(target=done.append, args=("acted",)),
}


#: They know no end; that the caller never gets them is all.
UNSTOPPABLE = {"what generates asynchronously", "an awaitable", "an iterator", "a map", "a filter", "a zip"}


def use(result: Any) -> None:
    """What a caller would do with it after the execution."""

    async def run() -> None:
        if hasattr(result, "__await__"):
            await result

    asyncio.run(run())
    for _ in result if hasattr(result, "__iter__") else ():
        pass


@pytest.mark.parametrize("kind", LATER)
@pytest.mark.filterwarnings("error::RuntimeWarning")
def test_what_would_run_later_is_refused_and_stopped(monitor: Monitor, gate: Gate, kind: str) -> None:
    """The call raises, nothing was done and nothing is done afterwards, and the outcome is a failure, not a success."""
    made: list[Any] = []

    def function() -> Any:
        made.append(LATER[kind]())
        return made[-1]

    with pytest.raises(RunsLater, match="after the execution has ended"):
        gate.guarded(subject=SUBJECT)(function)()
    assert done == []
    if kind not in UNSTOPPABLE:
        with contextlib.suppress(Exception, asyncio.CancelledError):
            use(made[0])
        assert done == []
    assert eventually(monitor.outcomes)[0]["outcome"] == "failed"


def test_an_async_function_returns_nothing_to_be_awaited_later_either(gate: Gate) -> None:
    """async def that returns a coroutine, a task or an asynchronous generator is refused when it returns."""

    @gate.guarded(subject=SUBJECT)
    async def hands_out(kind: str) -> Any:
        if kind == "task":
            return asyncio.get_running_loop().create_task(act())
        return act() if kind == "coroutine" else acts_async()

    async def run() -> None:
        for kind in ("coroutine", "task", "generator"):
            with pytest.raises(RunsLater):
                await hands_out(kind)
            await asyncio.sleep(0)

    asyncio.run(run())
    assert done == []


class Tool:
    """A callable object, as frameworks have them."""

    async def __call__(self, what: str = "acted") -> str:
        done.append(what)
        return what


@pytest.mark.parametrize("tool", [Tool(), functools.partial(Tool(), "acted"), functools.partial(act), staticmethod(act)])
def test_what_is_async_by_another_name_is_guarded_while_it_runs(monitor: Monitor, gate: Gate, tool: Callable[..., Any]) -> None:
    """An object with an async `__call__`, and partials, run inside their execution like `async def`."""
    guarded = gate.guarded(subject=SUBJECT)(tool)
    asyncio.run(guarded())
    assert done == ["acted"]
    assert eventually(monitor.outcomes)[0]["outcome"] == "ok"


def test_objects_that_generate_are_not_decorated(gate: Gate) -> None:
    """A generator by another name is refused when it is written."""

    class Generates:
        def __call__(self) -> Iterator[int]:
            yield 1

    for function in (Generates(), functools.partial(acts), functools.partial(Generates()), staticmethod(acts_async)):
        with pytest.raises(TypeError, match="generator"):
            gate.guarded(subject=SUBJECT)(function)


@pytest.mark.parametrize(
    "value",
    [None, 1, "text", b"bytes", [1, [2]], {"a": {"b": 1}}, Pair(1, 2), {1}, range(3), io.BytesIO(b"x"), object(), Mock()],
)
def test_what_is_done_is_returned(gate: Gate, value: Any) -> None:
    """Values, containers and open files come out as they are."""
    assert gate.guarded(subject=SUBJECT)(lambda: value)() is value


def test_a_service_that_a_record_refers_to_is_no_result(gate: Gate) -> None:
    """Its own task goes on: fields of an object in a field are not looked at."""

    async def run() -> None:
        task = asyncio.get_running_loop().create_task(asyncio.sleep(3600))
        value = Receipt(Receipt(task))
        assert gate.guarded(subject=SUBJECT)(lambda: value)() is value
        assert task.cancelling() == 0
        task.cancel()

    asyncio.run(run())


def test_a_result_that_holds_itself_is_looked_at_within_a_bound(gate: Gate) -> None:
    """A circle has an end here, and a thread that is done has no work left."""
    circle: list[Any] = [1, {"a": 2}]
    circle += [circle, circle, Receipt(circle), SimpleNamespace(circle=circle)]
    thread = threading.Thread(target=lambda: None)
    thread.start()
    thread.join()
    for value in (circle, thread):
        assert gate.guarded(subject=SUBJECT)(lambda value=value: value)() is value


# --- An execution is no answer ---


def test_an_execution_outside_its_block_has_no_truth_value(gate: Gate) -> None:
    """`if gate.execution(...)` raises and never admits; inside the block it is true."""
    execution = gate.execution(SUBJECT)
    with pytest.raises(RuntimeError, match="no answer"):
        bool(execution)
    with execution:
        assert execution
    with pytest.raises(RuntimeError, match="no answer"):
        bool(execution)


async def test_the_same_holds_for_an_asynchronous_one(gate: Gate) -> None:
    """Before `async with`, and after it."""
    execution = gate.execution(SUBJECT)
    with pytest.raises(RuntimeError, match="no answer"):
        bool(execution)
    async with execution:
        assert execution
    with pytest.raises(RuntimeError, match="no answer"):
        bool(execution)


def test_an_execution_that_was_not_entered_may_not_go_on(gate: Gate) -> None:
    """check() before the block raises what it is, not an attribute's name."""
    execution: Execution = gate.execution(SUBJECT)
    with pytest.raises(RuntimeError, match="not admitted"):
        execution.check()
