"""The suite that every detector is run through, ours or a user's.

    from failshut_detectors.suite import check
    assert check(MyDetector) == []

Reading a detector does not show whether it keeps the promises of contract.py, and a broken one does harm late. A
restarted governor decides differently, a replay does not repeat what happened, or one NaN blinds a gate. So each
promise is tried on streams of many kinds (streams.py), and what is broken is named with its evidence.

The suite knows the contract alone: `feed`, `ready`, `score`, `reading`, `summary`, `version` and that it pickles. A
promise whose trial rests on another one that is broken is not tried: a detector that looks ahead differs by batches, too.

Limits: passing is no proof. The suite sees clocks and chance if Python calls them, but not inside an extension module. It does
not test what no stream here causes. Whether a detector is any good is for benchmarks/ to say.
"""

from __future__ import annotations

import pickle
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from enum import StrEnum
from functools import partial
from typing import Any

from failshut_detectors.contract import StateVersionError, Unfit
from failshut_detectors.suite import streams
from failshut_detectors.suite.again import hears_again, rests_honestly
from failshut_detectors.suite.probes import clock_moved, deep_size, in_a_fresh_process, watched
from failshut_detectors.suite.streams import Stream
from failshut_detectors.suite.trial import (
    Broken,
    Judged,
    Said,
    Trace,
    Trial,
    after,
    first_difference,
    named,
    pickled_state,
    said,
    state_of,
    trace,
)

BUDGET = 60_000
"""Records of the longest stream, by which memory is judged; all trials together feed some six times as many."""
TEXT_CHARS_MAX = 200
_GROWTH_BYTES_MAX = 1_024
_READY_RECORDS = 1_000
_SAMPLES = 200  # of a state's size along the longest stream


class Promise(StrEnum):
    """What every detector promises, in the order in which it is tried."""

    DETECTS = "detects"
    TIMES = "any times"
    READINGS = "readings"
    CLOCK = "no clock, no chance"
    REPEATS = "repeats itself"
    LOOK_AHEAD = "no look-ahead"
    RANGE = "no peeking at the range"
    BATCHES = "the same in batches"
    PICKLES = "pickles"
    MEMORY = "constant memory"
    UNFIT = "refuses what is unfit"
    HEARS = "never deaf"
    RESTS = "never ready while it rests"


@dataclass(frozen=True, slots=True)
class Finding:
    """A promise that is broken, and how it shows: `check` with the same seed and budget shows it again."""

    promise: Promise
    evidence: str
    stream: str = ""
    seed: int = 0
    index: int | None = None
    """Of the record in the stream."""

    def __str__(self) -> str:
        place = f" at record {self.index}" if self.index is not None else ""
        where = f" (stream: {self.stream}, seed {self.seed}{place})" if self.stream else ""
        return f"{self.promise}: {self.evidence}{where}"


def check(
    make: Callable[[], Judged], *, budget: int = BUDGET, seed: int = 1, progress: Callable[[Promise], None] | None = None
) -> list[Finding]:
    """Try every promise on new detectors and return what is broken, one finding a promise; none is a pass.

    Args:
        make: returns a new detector, always with the same parameters.
        budget: records of the longest stream; the others have a thirtieth. Fewer than 30,000 are too few for a detector that
            learns from hundreds of records, and show less.
        seed: of the streams.
        progress: told of each promise before it is tried.
    """
    findings: list[Finding] = []
    try:
        trial = Trial(make, budget, seed)
    except Exception as error:  # noqa: BLE001 - whatever a detector raises is what there is to report
        return [Finding(Promise.DETECTS, f"a new one cannot be asked anything: {named(error)}")]
    for promise, (attempt, rests_on) in _ATTEMPTS.items():
        if not rests_on.isdisjoint(finding.promise for finding in findings):
            continue
        if progress is not None:
            progress(promise)
        try:
            attempt(trial)
        except Broken as broken:
            stream = broken.stream.name if broken.stream is not None else ""
            findings.append(Finding(promise, broken.evidence, stream, seed, broken.index))
        except Exception as error:  # noqa: BLE001 - see above
            findings.append(Finding(promise, f"raises {named(error)}", seed=seed))
    return findings


def _detects(trial: Trial) -> None:
    _speaks_after(trial, trial.calm, "a change as large as any is not detected")


def _any_times(trial: Trial) -> None:
    for stream in streams.awkward_times(trial.shape, trial.width, trial.length // 2, trial.seed):
        _speaks_after(trial, stream, f"a change as large as any is not detected after {stream.name}")


def _speaks_after(trial: Trial, stream: Stream, evidence: str) -> None:
    whole = stream.followed_by(trial.changes)
    if not any(index >= len(stream) for index, _ in trace(trial.make(), whole, trial.sizes(len(whole))).alarms):
        raise Broken(evidence, whole, len(stream))


def _readings(trial: Trial) -> None:
    new = trial.make()
    if new.ready:
        raise Broken("a new one is ready, though it has seen nothing")
    for detector in (new, after(trial.make(), trial.calm)):
        before, state = said(detector), state_of(detector)
        if detector.feed([], trial.no_times) or said(detector) != before or state_of(detector) != state:
            raise Broken("no records at all change it")
    for stream, found in trial.traces:
        alarms = dict(found.alarms)
        if sorted(alarms) != [index for index, _ in found.alarms] or not all(index in range(len(stream)) for index in alarms):
            raise Broken("alarms are out of order, repeated or of no record", stream)
        for at, words in found.readings.items():
            fault = _fault_of(words, at - 1 in alarms, alarms.get(at - 1, "x"))
            if fault:
                raise Broken(fault, stream, at - 1)
        if stream.times_ms is None or len(stream) < _READY_RECORDS:
            continue  # some learn their pace first, and some from hundreds of records
        if not any(ready for ready, *_ in found.readings.values()):
            raise Broken(f"is never ready in {len(stream)} records", stream)


def _fault_of(words: Said, alarmed: bool, alarm_text: str) -> str:
    ready, score, demand, text, summary = words
    if not isinstance(ready, bool) or not isinstance(demand, bool):
        return f"`ready` is {ready!r} and `demand` {demand!r}: must be true or false"
    if not 0.0 <= score <= 1.0:
        return f"score {score!r} is not from 0 to 1"
    if demand != alarmed or (score == 1.0) != alarmed:
        return f"score {score!r} and demand {demand}, where {'an' if alarmed else 'no'} alarm was raised"
    for what, line in (("alarm", alarm_text), ("reading", text), ("summary", summary)):
        if not line.strip() or len(line) > TEXT_CHARS_MAX or not line.isprintable():
            return f"the {what}'s text is no line of 1 to {TEXT_CHARS_MAX} characters: {line[:40]!r}"
    return ""


def _clock(trial: Trial) -> None:
    for stream in (trial.streams[0], trial.calm):
        detector = trial.make()
        for index in range(len(stream)):
            called = watched(partial(trace, detector, stream.cut(index, index + 1), [1]))
            if called:
                raise Broken(f"calls {called} while it is fed", stream, index)
    stream, expected = trial.traces[0]
    with clock_moved():
        moved, _ = trial.singly(stream)
    if moved != expected and trial.singly(stream)[0] == expected:
        raise Broken("says something else where the clock is moved", stream, first_difference(moved, expected))


def _repeats(trial: Trial) -> None:
    for stream, (before, state) in zip(trial.streams, trial.one_by_one, strict=True):
        again, state_again = trial.singly(stream)
        if again != before:
            raise Broken("two instances say different things", stream, first_difference(again, before))
        if state_again != state:
            raise Broken("two instances that saw the same pickle differently", stream)


def _look_ahead(trial: Trial) -> None:
    for stream, prefix, later in _cuts(trial):
        # What comes later keeps within the range so far: whoever peeks at the range is told so below.
        tail = streams.within(prefix.records, later)
        _same_up_to(trial, stream, prefix, tail, "looks ahead: alarms depend on what comes later")


def _range(trial: Trial) -> None:
    for stream, prefix, later in _cuts(trial):
        tail = streams.far_beyond(trial.shape, later)
        _same_up_to(trial, stream, prefix, tail, "alarms depend on the range of what comes later")


def _cuts(trial: Trial) -> list[tuple[Stream, Stream, Sequence[Any]]]:
    """Return streams cut around an alarm and elsewhere: the stream, what is before, some of what comes later."""
    found = []
    for stream, seen in trial.traces:
        alarms = [index for index, _ in seen.alarms]
        last = alarms[-1] if alarms else len(stream) // 2
        for at in sorted({len(stream) * 4 // 5, max(last, 1), min(last + 1, len(stream) - 1)} - {len(stream)}):
            found.append((stream, stream.cut(0, at), stream.records[at : at + 200]))
    return found


def _same_up_to(trial: Trial, stream: Stream, prefix: Stream, tail: Sequence[Any], evidence: str) -> None:
    count = len(prefix)
    alone = trace(trial.make(), prefix, [count]).alarms
    whole = prefix.followed_by(tail)
    followed = [alarm for alarm in trace(trial.make(), whole, [len(whole)]).alarms if alarm[0] < count]
    if alone != followed:
        raise Broken(evidence, stream, min(set(alone) ^ set(followed), default=(count, ""))[0])


def _batches(trial: Trial) -> None:
    for stream, singly in trial.traces:
        for way, sizes in (("in batches", trial.sizes(len(stream))), ("whole", [len(stream)])):
            found = trace(trial.make(), stream, sizes)
            expected = Trace(singly.alarms, {at: singly.readings[at] for at in found.readings if at})
            found.readings.pop(0, None)
            if found != expected:
                raise Broken(f"says something else {way} than one by one", stream, first_difference(found, expected))


def _pickles(trial: Trial) -> None:
    for stream in trial.streams:
        sizes = trial.sizes(len(stream))
        kept, through = trace(trial.make(), stream, sizes), trace(trial.make(), stream, sizes, pickled=True)
        if kept != through:
            raise Broken("goes on differently from its pickle", stream, first_difference(through, kept))
    stream = trial.streams[0]
    half = len(stream) // 2
    detector = after(trial.make(), stream.cut(0, half))
    state, rest = pickled_state(detector), stream.cut(half, len(stream))
    _versioned(detector)
    elsewhere = in_a_fresh_process(state, rest.records, rest.times_ms)
    here = ([(alarm.index, alarm.text) for alarm in detector.feed(rest.records, rest.times_ms)], detector.summary())
    if elsewhere != here:
        raise Broken(f"a fresh process does not go on from its state: {elsewhere}"[:300], stream, half)


def _versioned(detector: Judged) -> None:
    cls = type(detector)
    if not isinstance(getattr(cls, "version", None), int):
        raise Broken("its state has no `version`")
    newer: Any = type(cls.__name__, (cls,), {"version": cls.version + 1})
    reduced: Any = detector.__reduce_ex__(pickle.HIGHEST_PROTOCOL)
    try:
        newer.__new__(newer).__setstate__(reduced[2])
    except StateVersionError:
        return
    except AttributeError:
        pass
    raise Broken("state of another version is taken, or not refused with StateVersionError")


def _memory(trial: Trial) -> None:
    stream, detector, early_until = trial.long, trial.make(), trial.budget // 3
    step = max(1, trial.budget // _SAMPLES)
    early, late = [0, 0], [0, 0]
    for at in range(0, len(stream), step):
        after(detector, stream.cut(at, at + step))
        late = list(map(max, late, (len(state_of(detector)), deep_size(detector))))
        if at < early_until:
            early = late
    for what, before, then in zip(("pickles to", "takes"), early, late, strict=True):
        if then > before * 1.05 + _GROWTH_BYTES_MAX:
            raise Broken(
                f"grows: {what} at most {before:,} bytes up to record {early_until:,}, {then:,} later", stream, len(stream)
            )


def _unfit(trial: Trial) -> None:
    detector, control = after(trial.make(), trial.calm), after(trial.make(), trial.calm)
    good, at = trial.calm.records[0], len(trial.calm)
    change = trial.calm.followed_by(trial.changes).cut(at, at + len(trial.changes))
    times = None if change.times_ms is None else [change.times_ms[0]] * 3
    before, state = said(detector), state_of(detector)
    for name, bad in streams.unfit(trial.shape, trial.width):
        try:
            detector.feed([good, bad, good], times)
        except Unfit as refused:
            if refused.index != 1:
                raise Broken(f"{name} in place 1 is refused as if in place {refused.index}", trial.calm, at) from refused
        except Exception as error:
            raise Broken(f"{name} is not refused with Unfit: {named(error)}", trial.calm, at) from error
        else:
            found = detector.feed(change.records, change.times_ms)
            raise Broken(f"{name} is taken, and a change after it {'detected' if found else 'never detected'}", trial.calm, at)
        if said(detector) != before or state_of(detector) != state:
            raise Broken(f"{name} is refused, and changes it all the same", trial.calm, at)
    found_after, expected = trace(detector, change, [len(change)]), trace(control, change, [len(change)])
    if not expected.alarms or found_after != expected:
        raise Broken("a change after what it refused is not detected as it is without", trial.calm, at)


_Attempt = tuple[Callable[[Trial], None], frozenset[Promise]]
_SAME = frozenset({Promise.TIMES, Promise.READINGS, Promise.CLOCK, Promise.REPEATS})

_ATTEMPTS: dict[Promise, _Attempt] = {
    Promise.DETECTS: (_detects, frozenset()),
    Promise.TIMES: (_any_times, frozenset({Promise.DETECTS})),
    Promise.READINGS: (_readings, frozenset({Promise.TIMES})),
    Promise.CLOCK: (_clock, frozenset({Promise.TIMES})),
    Promise.REPEATS: (_repeats, frozenset({Promise.TIMES, Promise.CLOCK})),
    Promise.LOOK_AHEAD: (_look_ahead, _SAME),
    Promise.RANGE: (_range, _SAME | {Promise.LOOK_AHEAD}),
    Promise.BATCHES: (_batches, _SAME | {Promise.LOOK_AHEAD, Promise.RANGE}),
    Promise.PICKLES: (_pickles, _SAME),
    Promise.MEMORY: (_memory, frozenset({Promise.TIMES})),
    Promise.UNFIT: (_unfit, _SAME | {Promise.DETECTS}),
    Promise.HEARS: (hears_again, _SAME | {Promise.DETECTS}),
    Promise.RESTS: (rests_honestly, _SAME | {Promise.DETECTS, Promise.HEARS}),
}
