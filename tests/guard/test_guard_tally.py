"""How executions ended is counted where they end: nothing is lost on the way to the next entry, and nothing told twice."""

from __future__ import annotations

import threading
import weakref
from typing import Any

import pytest
from guard.standin import SUBJECT, Monitor, admitted, eventually
from patience import patient

from failshut import Cause, Gate, Guard, RunsLater, Withheld
from failshut.background.outcomes import BATCH_MAX, OutcomeQueue
from failshut.background.tally import Book, Tally


def told(queue: OutcomeQueue) -> dict[tuple[str, str, str], int]:
    """Gate, epoch and outcome of the next batch, with their counts."""
    return {(entry.gate, entry.epoch, entry.outcome): entry.count for entry in queue.take()}


def test_threads_that_count_at_once_lose_nothing() -> None:
    """Each step counts, whoever takes it and whoever reads meanwhile."""
    tally = Tally()
    book = Book("g", "e", tally)
    found: dict[str, int] = {}

    def count() -> None:
        for _ in range(20_000):
            next(tally.ok)
            tally.add("failed")

    threads = [threading.Thread(target=count) for _ in range(4)]
    for thread in threads:
        thread.start()
    while any(thread.is_alive() for thread in threads):
        for outcome, number in book.read():
            found[outcome] = found.get(outcome, 0) + number
    for thread in threads:
        thread.join(patient(20))
    for outcome, number in book.read():
        found[outcome] = found.get(outcome, 0) + number
    assert found == {"ok": 80_000, "failed": 80_000}
    assert book.read() == []


def test_more_than_an_entry_can_carry_waits(monkeypatch: pytest.MonkeyPatch) -> None:
    """A count is a number of 31 bits; the rest is in the next entry."""
    monkeypatch.setattr("failshut.background.tally.COUNT_MAX", 3)
    tally = Tally()
    book = Book("g", "e", tally)
    for _ in range(7):
        tally.add("ok")
    assert [book.read() for _ in range(4)] == [[("ok", 3)], [("ok", 3)], [("ok", 1)], []]


def test_what_was_counted_has_no_bound() -> None:
    """However long nobody takes, no outcome is lost: a number is no longer for it."""
    queue = OutcomeQueue(10)
    tally = queue.tally("g", "e")
    for _ in range(1_000):
        tally.add("ok")
        tally.add("interrupted")
    assert told(queue) == {("g", "e", "ok"): 1_000, ("g", "e", "interrupted"): 1_000}
    assert queue.lost("g") == 0


def test_a_tally_is_read_until_nobody_counts_in_it() -> None:
    """A renewed epoch opens another one; the former is read as long as somebody has it, and once more."""
    queue = OutcomeQueue(10)
    former, later = queue.tally("g", "e"), queue.tally("g", "f")
    for _ in range(3):
        former.add("ok")
        later.add("failed")
        assert told(queue) == {("g", "e", "ok"): 1, ("g", "f", "failed"): 1}
    former.add("cancelled")
    del former
    assert told(queue) == {("g", "e", "cancelled"): 1}
    assert len(queue._books) == 1


def test_tallies_of_one_epoch_are_one_entry() -> None:
    """Two leases of an epoch, with a lapse between them, are told together."""
    queue = OutcomeQueue(10)
    for tally in [queue.tally("g", "e"), queue.tally("g", "e")]:
        tally.add("ok")
    assert told(queue) == {("g", "e", "ok"): 2}


def test_at_the_bound_what_nobody_told_of_former_epochs_is_lost() -> None:
    """A store that takes nothing while a gate is decided anew again and again costs a bounded memory, and says so."""
    queue = OutcomeQueue(4)
    kept = queue.tally("h", "e")
    kept.add("ok")
    for number in range(100):
        queue.tally("g", str(number)).add("failed")
    assert len(queue._books) <= 5
    told_now = told(queue)
    assert told_now[("h", "e", "ok")] == 1
    assert sum(count for (gate, _, outcome), count in told_now.items() if (gate, outcome) == ("g", "failed")) < 5


def test_all_outcomes_of_many_gates_are_told_in_turn() -> None:
    """A batch has a bound; the next one begins where it ended, and no gate is forgotten."""
    queue = OutcomeQueue(10_000)
    tallies = {f"g{number}": queue.tally(f"g{number}", "e") for number in range(2 * BATCH_MAX)}
    found: dict[str, int] = {}
    for tally in tallies.values():
        tally.add("ok")
    for _ in range(4):
        batch = queue.take()
        assert len(batch) <= BATCH_MAX
        for entry in batch:
            found[entry.gate] = found.get(entry.gate, 0) + entry.count
    assert found == dict.fromkeys(tallies, 1)


def test_a_fork_leaves_nothing_to_tell() -> None:
    """In the child what was counted and what is still counted is the parent's."""
    queue = OutcomeQueue(10)
    tally = queue.tally("g", "e")
    tally.add("ok")
    former = queue.name
    queue.after_fork()
    tally.add("ok")
    assert (queue.take(), queue.name != former) == ([], True)


# --- executions ---


def outcomes_of(monitor: Monitor) -> dict[str, int]:
    found: dict[str, int] = {}
    for entry in monitor.outcomes():
        assert (entry["epoch"], entry["token"], entry["lost"]) == (monitor.epoch, "", "0")
        found[entry["outcome"]] = found.get(entry["outcome"], 0) + int(entry["count"])
    return found


def test_an_execution_tells_its_end_once(monitor: Monitor, gate: Gate) -> None:
    """Whoever leaves a block twice, or one that was never entered, changes no count."""
    monitor.issue(ttl_ms=60_000)
    admitted(gate)
    with gate.execution(SUBJECT) as execution:
        pass
    execution.__exit__(None, None, None)
    execution.__exit__(KeyError, KeyError(), None)
    gate.execution(SUBJECT).__exit__(None, None, None)
    with pytest.raises(KeyError), gate.execution(SUBJECT):
        raise KeyError
    eventually(lambda: outcomes_of(monitor) == {"ok": 1, "failed": 1})


def test_guarded_functions_tell_how_they_ended(monitor: Monitor, gate: Gate) -> None:
    """The way without an object of its own counts as the others do."""
    monitor.issue(ttl_ms=60_000)
    admitted(gate)
    errors: list[Any] = [None, KeyError(), KeyboardInterrupt(), Withheld("another.gate", Cause.DRIFT)]

    @gate.guarded(subject=SUBJECT)
    def act(error: BaseException | None) -> str:
        if error is not None:
            raise error
        return "done"

    assert [act(None), act(errors[0])] == ["done", "done"]
    for error in errors[1:]:
        with pytest.raises(type(error)):
            act(error)

    @gate.guarded(subject=SUBJECT)
    def later() -> Any:
        return iter([1])

    with pytest.raises(RunsLater):
        later()
    eventually(lambda: outcomes_of(monitor) == {"ok": 2, "failed": 2, "interrupted": 1, "cancelled": 1})


def test_many_threads_executions_are_all_counted(monitor: Monitor, gate: Gate, guard: Guard) -> None:
    """Eight threads, renewals meanwhile: the monitor hears of each execution once."""
    monitor.keep_renewing(ttl_ms=60_000)
    admitted(gate)

    def run() -> None:
        for _ in range(500):
            with gate.execution(SUBJECT):
                pass

    threads = [threading.Thread(target=run) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(patient(30))
    eventually(lambda: outcomes_of(monitor) == {"ok": 4_000})
    assert guard.faults == 0


def test_a_renewed_lease_counts_in_the_same_tally_and_another_epoch_does_not(monitor: Monitor, gate: Gate) -> None:
    """There are as many tallies as epochs, not as renewals."""
    monitor.issue(ttl_ms=60_000)
    admitted(gate)
    with gate.execution(SUBJECT) as execution:
        tally = weakref.ref(execution._lease.tally)
        former = execution.epoch
        monitor.issue(ttl_ms=60_000)
        eventually(lambda: gate._slot.state is not execution._lease)
        assert gate._slot.state.tally is tally()  # type: ignore[union-attr]
        monitor.reopen(ttl_ms=60_000)
        eventually(lambda: admitted(gate).epoch == monitor.epoch)
        assert gate._slot.state.tally is not tally()  # type: ignore[union-attr]
    with gate.execution(SUBJECT) as execution:
        pass
    eventually(lambda: {entry["epoch"] for entry in monitor.outcomes()} == {former, monitor.epoch})
    assert tally() is None
    eventually(lambda: len(gate._slot.guard.outcomes._books) == 1)
