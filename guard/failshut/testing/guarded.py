"""One assertion: this path never executes on a closed gate.

    assert_guarded(refunds, lambda effect: refund("order-7", pay=effect))

The path is what a service does with one piece of work. It is given the side effect, and must put it where the real one is.
It is called again and again: on the open gate, on the gate closed for each cause, lapse included, and on a gate that closes
or lapses at the moment of the first effect. An effect on a closed gate is the fault that is looked for.

A check that looks at nothing must not pass. So the path must have its effect while the gate is open, and must ask the gate
each time. A path that does its work only once, or that was denied by something else, has shown nothing.

Limits: it sees what the path does with the effect, in the order in which it does it. No guard stops a block that is past its
last check when the gate closes: its resource must refuse an old fencing token. An effect that comes after the assertion has
ended is seen by nobody.
"""

from __future__ import annotations

import asyncio
import functools
import inspect
import threading
from collections.abc import Awaitable, Callable, Generator, Iterator
from dataclasses import dataclass
from typing import Any, Final, ParamSpec, TypeVar, cast

from failshut.admission.unfinished import runs_async
from failshut.background.outcomes import CANCELLED
from failshut.cause import Cause
from failshut.execution import outcome_of
from failshut.testing.control import GateControl
from failshut.withheld import Withheld

P = ParamSpec("P")
R = TypeVar("R")
#: How long an asynchronous path may take for one piece of work, by the real clock.
SECONDS_MAX: Final = 10.0
CAUSES_MAX: Final = 100
"""Errors, each raised from the next, among which a denial is looked for."""
Denials = type[Exception] | tuple[type[Exception], ...]


class Executed(AssertionError):
    """The side effect came on a closed gate. Raised where it came, and again by the assertion."""


@dataclass(frozen=True, slots=True)
class _Trial:
    """One call of the path."""

    when: str
    prepare: Callable[[], object]
    """Brings the gate into the state in which the path is called."""
    executes: bool
    """Whether the path must have its effect."""
    middle: Callable[[], object] | None = None
    """What happens to the gate at the first effect."""


class Effect:
    """The side effect of a path: the path calls it where the real one is. Any thread may.

    It takes any arguments and returns None; `calling` makes one that returns something.
    """

    def __init__(self, trial: _Trial, cancels: bool, found: list[Executed]) -> None:
        self._trial = trial
        self._cancels = cancels
        self._found = found
        self._lock = threading.Lock()
        self._why_not = "" if trial.executes else f"although the gate was closed: {trial.when}"
        self.count = 0
        """How often it came."""

    def __call__(self, *args: object, **kwargs: object) -> None:
        with self._lock:
            self.count += 1
            first, why_not = self.count == 1, self._why_not
        if why_not:
            error = Executed(f"the path executed {why_not}")
            self._found.append(error)
            raise error
        if first and self._trial.middle is not None:
            self._trial.middle()
            if self._cancels:
                with self._lock:
                    self._why_not = f"although the gate was closed: {self._trial.when}"

    def end(self) -> None:
        """Allow no more of it: its path has ended, and what it was admitted for is over."""
        with self._lock:
            self._why_not = self._why_not or f"later than it was admitted for: {self._trial.when}"

    async def awaited(self, *args: object, **kwargs: object) -> None:
        """Be the side effect of an asynchronous path. As real I/O, it lets the event loop run."""
        self(*args, **kwargs)
        await asyncio.sleep(0)

    def calling(self, function: Callable[P, R]) -> Callable[P, R]:
        """Return a function, `async def` as the given one, that is the side effect and then calls the given one."""
        if runs_async(function):

            @functools.wraps(function)
            async def call_async(*args: Any, **kwargs: Any) -> Any:
                await self.awaited()
                return await cast(Any, function(*args, **kwargs))

            return cast(Callable[P, R], call_async)

        @functools.wraps(function)
        def call(*args: P.args, **kwargs: P.kwargs) -> R:
            self()
            return function(*args, **kwargs)

        return call


class Verdict:
    """What `assert_guarded` returns: to be awaited where it tries an asynchronous path inside an event loop, and else done."""

    def __init__(self, work: Callable[[], Awaitable[None]] | None = None) -> None:
        self._work = work

    def __await__(self) -> Generator[Any, Any, None]:
        work, self._work = self._work, None
        if work is not None:
            yield from work().__await__()


def assert_guarded(
    gate: GateControl, path: Callable[[Effect], object], *, denial: Denials = Withheld, seconds: float = SECONDS_MAX
) -> Verdict:
    """Assert that `path` executes while the gate is open, and never while it is closed. Leaves the gate closed.

    Inside an event loop await what it returns: `await assert_guarded(...)`. A rehearsal that ends before that fails.

    Args:
        gate: the gate that guards the path. Its terms admit the path's subject.
        path: does one piece of work with the side effect that it is given. Where it is denied it returns, or raises.
        denial: what it raises then, besides Withheld and what is raised `from` one. Other errors are the path's own.
        seconds: the longest that an asynchronous path may take for it.

    Raises:
        Executed: the side effect came while the gate was closed.
        AssertionError: the path did not execute while the gate was open, did not ask the gate, or did not end.
        Exception: whatever else the path raises.
    """
    judge = _Judge(gate, denial)
    trials = list(_trials(gate))
    for number, trial in enumerate(trials):
        effect = judge.begin(trial)
        try:
            result = path(effect)
        except Exception as error:  # noqa: BLE001 - the judge raises it again unless it is a denial
            judge.end(error)
            continue
        if inspect.isawaitable(result):
            return _finish(gate, functools.partial(_try_async, judge, trials[number:], path, effect, result, seconds))
        judge.end(None)
    gate.close(Cause.NO_PERMIT)
    return Verdict()


def _trials(gate: GateControl) -> Iterator[_Trial]:
    yield _Trial("the gate was open", gate.open, True)
    for cause in Cause:

        def close(cause: Cause = cause) -> None:
            gate.open()
            gate.close(cause)

        yield _Trial(f"closed before the path began ({cause})", close, False)
    yield _Trial("closed while the path ran (drift)", gate.open, True, lambda: gate.close(Cause.DRIFT))
    yield _Trial("lapsed while the path ran", gate.open, True, gate.lapse)


class _Judge:
    """Says what a trial has shown. One at a time."""

    def __init__(self, gate: GateControl, denial: Denials) -> None:
        self._gate = gate
        self._denial = denial
        self._found: list[Executed] = []

    def begin(self, trial: _Trial) -> Effect:
        """Bring the gate into its state; return the side effect of this trial."""
        trial.prepare()
        self._trial = trial
        self._asked = self._gate.stage.guard.asked(self._gate.name)
        self._effect = Effect(trial, self._gate.terms.in_flight == "cancel", self._found)
        return self._effect

    def end(self, error: Exception | None) -> None:
        """Judge what came of it. Raises AssertionError, or the path's own error unless it is a denial."""
        trial, name = self._trial, self._gate.name
        self._effect.end()
        if self._found:
            raise self._found[0] from None
        denied = error is not None and (isinstance(error, self._denial) or _is_denial(error))
        if error is not None and not denied:
            error.add_note(f"raised by the path that assert_guarded tried: {name}, {trial.when}")
            raise error
        if denied and trial.executes and not self._effect.count:
            raise AssertionError(f"the path was denied although the gate was open: {error}") from error
        if self._gate.stage.guard.asked(name) == self._asked:
            raise AssertionError(
                f"the path never asked the gate {name} ({trial.when}), so it shows nothing of it: "
                "each call must do the whole piece of work anew"
            ) from error
        if trial.executes and not self._effect.count:
            raise AssertionError("the path had no effect while the gate was open: call the given effect where the real one is")


def _is_denial(error: BaseException) -> bool:
    """Return whether this is Withheld, a group of nothing else, or raised from one."""
    for _ in range(CAUSES_MAX):
        if outcome_of(error) == CANCELLED:
            return True
        if error.__cause__ is None:
            return False
        error = error.__cause__
    return False


async def _try_async(
    judge: _Judge,
    trials: list[_Trial],
    path: Callable[[Effect], object],
    effect: Effect,
    result: object,
    seconds: float,
) -> None:
    """Await the trial that has begun with `result`, and go on with those behind it."""
    for number, trial in enumerate(trials):
        try:
            if number:
                effect = judge.begin(trial)
                result = path(effect)
            if inspect.isawaitable(result):
                await _ended(result, trial, seconds)
        except Exception as error:  # noqa: BLE001 - as above
            judge.end(error)
        else:
            judge.end(None)


async def _ended(work: Awaitable[object], trial: _Trial, seconds: float) -> None:
    """Await work in a task of its own, which a guard may cancel. Raises what it does, and AssertionError if it does not end."""
    task = asyncio.ensure_future(work)
    try:
        done, _ = await asyncio.wait({task}, timeout=seconds)
    finally:
        task.cancel()
    if not done:
        raise AssertionError(f"the path did not end within {seconds} s: {trial.when}")
    if task.cancelled():
        raise AssertionError(f"the path was cancelled by somebody else: {trial.when}")
    task.result()


def _finish(gate: GateControl, work: Callable[[], Awaitable[None]]) -> Verdict:
    """Run the trials to their end, or have them awaited where an event loop runs already."""

    async def run() -> None:
        try:
            await work()
            gate.close(Cause.NO_PERMIT)
        finally:
            gate.stage.settle(work)

    try:
        asyncio.get_running_loop()
    except RuntimeError:
        with asyncio.Runner(loop_factory=asyncio.new_event_loop) as runner:  # it leaves the thread's own loop alone
            runner.run(run())
        return Verdict()
    gate.stage.owe(
        work,
        f"assert_guarded({gate!r}) was never awaited, so it has shown nothing: inside an event loop write `await` before it",
    )
    return Verdict(run)
