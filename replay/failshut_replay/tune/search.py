"""Tuning: a policy's parameters against labelled incidents, on all cores, resumable, and honest about what it knows.

Parameters are drawn from a low-discrepancy sequence (Optuna's QMC sampler), never from what earlier draws achieved. That costs
some efficiency and has two advantages. Workers need not wait for each other, and cross-validation is as cheap as reading a
table. For each incident the choice is made from the results on all the others. Then the chosen policy is scored on the one left
out. No draw depended on any result, so that score is a held-out figure. The draws themselves are one set, so the figure is of
the rule that chooses, as held-out figures are.

Every finished draw is in a journal on disk. Ctrl-C ends the search and leaves what was learned; started again on the same
folder it goes on.

Source: T. Akiba et al., Optuna, KDD 2019; the sequence is I. M. Sobol's, as SciPy has it.
"""

from __future__ import annotations

import hashlib
import multiprocessing
import os
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass
from multiprocessing.process import BaseProcess
from multiprocessing.synchronize import Event
from pathlib import Path
from typing import Any, Protocol

import optuna
from optuna.storages.journal import JournalFileBackend, JournalFileOpenLock, JournalStorage
from optuna.trial import TrialState

from failshut_replay.errors import ReplayError
from failshut_replay.story.scores import WEEK_MS, poisson_interval
from failshut_replay.tune.space import Space

STUDY = "failshut tune"
CHOICES = ("cautious", "balanced", "quick")
POLL_SECONDS = 1.0
CLOSED_SHARE_MAX = 0.1


@dataclass(frozen=True, slots=True)
class Incidental:
    """What a policy did about one incident. `delay_s` is None where it missed it; `length_s` is how long the incident was.

    `open_s` is for how long of it the gate was open: after the first closing as well.
    """

    id: str
    length_s: float
    delay_s: float | None
    open_s: float | None = None  # of journals that were written before it was counted

    @property
    def cost_s(self) -> float:
        """For how long the gate let through what it should not have."""
        if self.open_s is not None:
            return self.open_s
        return self.length_s if self.delay_s is None else self.delay_s


@dataclass(frozen=True, slots=True)
class Outcome:
    """What a policy comes to over all recordings."""

    incidents: tuple[Incidental, ...]
    false_trips: int
    normal_ms: int
    closed_ms: int

    def without(self, incident: str) -> Outcome:
        """Return the outcome without one incident."""
        kept = tuple(one for one in self.incidents if one.id != incident)
        return Outcome(kept, self.false_trips, self.normal_ms, self.closed_ms)

    @property
    def missed(self) -> int:
        """How many incidents were missed."""
        return sum(one.delay_s is None for one in self.incidents)

    @property
    def unusable(self) -> bool:
        """Whether the gate was closed for more than a tenth of the time in which nothing was wrong."""
        return self.closed_ms > CLOSED_SHARE_MAX * self.normal_ms

    @property
    def open_s(self) -> float:
        """Mean time for which the gate was open in an incident."""
        return sum(one.cost_s for one in self.incidents) / len(self.incidents) if self.incidents else 0.0

    @property
    def false_per_week(self) -> float:
        """False trips a week."""
        return self.false_trips * WEEK_MS / self.normal_ms if self.normal_ms else 0.0

    @classmethod
    def read(cls, raw: Mapping[str, Any]) -> Outcome:
        """Return an outcome from its JSON."""
        return cls(tuple(Incidental(**one) for one in raw["incidents"]), raw["false_trips"], raw["normal_ms"], raw["closed_ms"])


class Evaluates(Protocol):
    """Judges a policy; it goes to other processes, so it can be pickled."""

    def __call__(self, text: str) -> Outcome:
        """Return what a policy comes to."""
        ...


@dataclass(frozen=True, slots=True)
class Tried:
    """One draw: its number, policy and outcome."""

    number: int
    policy: str
    outcome: Outcome


# Each rule orders outcomes; the smallest is chosen. They are said in docs/replay.md. None chooses a gate that is mostly closed.
RULES: dict[str, Callable[[Outcome], tuple[float, ...]]] = {
    # Nothing may be missed; false trips come second.
    "cautious": lambda outcome: (outcome.unusable, outcome.missed, outcome.false_trips, outcome.open_s, outcome.closed_ms),
    # A missed incident weighs as much as a false trip in the time that was watched.
    "balanced": lambda outcome: (
        outcome.unusable,
        outcome.missed + outcome.false_trips,
        outcome.false_trips,
        outcome.open_s,
        outcome.closed_ms,
    ),
    # The least time with the gate open over an incident, whatever it costs up to a false trip for each incident.
    "quick": lambda outcome: (
        outcome.unusable,
        outcome.false_trips > len(outcome.incidents),
        outcome.open_s,
        outcome.false_trips,
        outcome.closed_ms,
    ),
}


def choose(tried: Sequence[Tried], rule: str) -> Tried:
    """Return what a rule chooses; of equals the one drawn first."""
    return min(tried, key=lambda one: (*RULES[rule](one.outcome), one.number))


def held_out(tried: Sequence[Tried], rule: str) -> Outcome:
    """Return what a rule's choices do about incidents that they were not chosen on: leave-one-incident-out.

    False trips and times are the mean over the choices, rounded up.
    """
    names = [one.id for one in tried[0].outcome.incidents]
    found: list[Incidental] = []
    false, closed = 0, 0
    for name in names:
        without = [Tried(one.number, "", one.outcome.without(name)) for one in tried]
        number = choose(without, rule).number
        chosen = next(one.outcome for one in tried if one.number == number)
        found.append(next(one for one in chosen.incidents if one.id == name))
        false, closed = false + chosen.false_trips, closed + chosen.closed_ms
    folds = max(1, len(names))
    return Outcome(tuple(found), -(-false // folds), tried[0].outcome.normal_ms, -(-closed // folds))


def pareto(tried: Sequence[Tried]) -> list[Tried]:
    """Return what nothing else that is usable beats in missed incidents, open time and false trips at once."""

    def goals(one: Tried) -> tuple[float, ...]:
        return (one.outcome.missed, one.outcome.open_s, one.outcome.false_trips)

    front: dict[tuple[float, ...], Tried] = {}
    for one in sorted((one for one in tried if not one.outcome.unusable), key=lambda each: (goals(each), each.number)):
        mine = goals(one)
        if not any(all(a <= b for a, b in zip(other, mine, strict=True)) for other in front):
            front[mine] = one
    return list(front.values())


Watch = Callable[[list[Tried], float], None]
"""Told of all draws so far and of the seconds that are left."""


def tune(
    space: Space,
    evaluate: Evaluates,
    folder: Path,
    budget_s: float,
    *,
    workers: int = 0,
    draws: int = 0,
    watch: Watch = lambda tried, left_s: None,
) -> list[Tried]:
    """Draw and judge policies until the time is over; return all that were judged, those of earlier calls included.

    Args:
        space: what may be drawn.
        evaluate: judges a policy.
        folder: where the journal stands; draws in it are kept and added to.
        budget_s: for how long.
        workers: how many processes; 0 is one for each core.
        draws: end after so many in all; 0 is no such end.
        watch: told now and then how far it is.

    Raises:
        ReplayError: the journal is of another policy.
    """
    folder.mkdir(parents=True, exist_ok=True)
    storage = _storage(folder)
    optuna.logging.set_verbosity(optuna.logging.WARNING)
    study = optuna.create_study(storage=storage, study_name=STUDY, directions=["minimize"] * 3, load_if_exists=True)
    fingerprint = hashlib.sha256(space.text().encode()).hexdigest()
    if study.user_attrs.get("policy", fingerprint) != fingerprint:
        raise ReplayError(f"{folder} holds the tuning of another policy: give another folder")
    study.set_user_attr("policy", fingerprint)
    for threads in ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS"):
        os.environ.setdefault(threads, "1")  # each worker has a core of its own: more threads only wait for each other
    context = multiprocessing.get_context("spawn")
    stop = context.Event()
    ends_s = time.time() + budget_s
    count = workers or os.cpu_count() or 1
    processes = [
        context.Process(target=_work, args=(space, evaluate, folder, ends_s, draws, stop), daemon=True) for _ in range(count)
    ]
    _run(processes, stop, lambda: watch(tried(folder), max(0.0, ends_s - time.time())))
    failed = [process.exitcode for process in processes if process.exitcode]
    found = tried(folder)
    if failed and not found:
        raise ReplayError(f"no policy could be judged: the workers ended with {failed[0]}")
    return found


def _run(processes: Sequence[BaseProcess], stop: Event, look: Callable[[], None]) -> None:
    """Run processes until all have ended, or somebody interrupts; each gets half a minute to stop."""
    for process in processes:
        process.start()
    try:
        while any(process.is_alive() for process in processes):
            processes[0].join(POLL_SECONDS)
            look()
    except KeyboardInterrupt:
        pass  # what was learned is in the journal; the caller goes on with it
    finally:
        stop.set()
        for process in processes:
            process.join(30)
            if process.is_alive():
                process.terminate()
                process.join()


def tried(folder: Path) -> list[Tried]:
    """Return what a folder's journal holds, in the order of the draws."""
    study = optuna.load_study(storage=_storage(folder), study_name=STUDY)
    trials = study.get_trials(deepcopy=False, states=[TrialState.COMPLETE])
    found = [Tried(one.number, one.user_attrs["policy"], Outcome.read(one.user_attrs["outcome"])) for one in trials]
    return sorted(found, key=lambda one: one.number)


def _storage(folder: Path) -> JournalStorage:
    path = str(folder / "draws.journal")
    return JournalStorage(JournalFileBackend(path, lock_obj=JournalFileOpenLock(path)))


def _work(space: Space, evaluate: Evaluates, folder: Path, ends_s: float, draws: int, stop: Any) -> None:
    """Work as one process: draw, judge, write down, until it is enough."""
    import signal
    import warnings

    signal.signal(signal.SIGINT, signal.SIG_IGN)  # the one who waits for us is told, and tells us
    warnings.simplefilter("ignore", optuna.exceptions.ExperimentalWarning)
    optuna.logging.set_verbosity(optuna.logging.ERROR)
    sampler = optuna.samplers.QMCSampler(
        seed=1, scramble=True, warn_independent_sampling=False, warn_asynchronous_seeding=False
    )
    study = optuna.load_study(storage=_storage(folder), study_name=STUDY, sampler=sampler)

    def judge(trial: optuna.Trial) -> tuple[float, float, float]:
        text = space.draw(trial)
        outcome = evaluate(text)
        trial.set_user_attr("policy", text)
        trial.set_user_attr("outcome", asdict(outcome))
        return float(outcome.missed), outcome.open_s, outcome.false_per_week

    while not stop.is_set() and time.time() < ends_s:
        if draws and len(study.get_trials(deepcopy=False, states=[TrialState.COMPLETE, TrialState.RUNNING])) >= draws:
            return
        study.optimize(judge, n_trials=1)


def told(outcome: Outcome) -> dict[str, Any]:
    """Return an outcome in figures, for a table or a machine."""
    weeks = outcome.normal_ms / WEEK_MS
    low, high = poisson_interval(outcome.false_trips)
    return {
        "missed": outcome.missed,
        "incidents": len(outcome.incidents),
        "mean_open_s": outcome.open_s,
        "false_trips": outcome.false_trips,
        "false_trips_per_week": outcome.false_per_week,
        "false_trips_per_week_95": [low / weeks, high / weeks] if weeks else None,
        "closed_without_cause_s": outcome.closed_ms / 1000,
    }
