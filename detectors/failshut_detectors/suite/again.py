"""Whether a detector hears what comes after its alarm: a second change, soon or late, larger than the first.

An incident is often followed by a worse one. So the first change of the suite is fed until it is an alarm. Then come some more
records, of what was before or of the change that lasts. Then comes a second change on the same side, three times as large (of
events: none conforms). It must be heard, and as soon as the first was. A detector that hears it later may have a reason; but
then it must not say meanwhile that it is ready, for that keeps a gate open.

Limits: a change that is smaller than the first, or of the same size while the first lasts, is not tried. Events are tried only
after a time in which all was well again: a share that has lasted is what is usual.
"""

from __future__ import annotations

from dataclasses import dataclass

from failshut_detectors.suite import streams
from failshut_detectors.suite.streams import Shape, Stream
from failshut_detectors.suite.trial import Broken, Judged, Trial, after

GAPS = (5, 20, 50, 100, 200, 400)
"""Records between the alarm and the second change."""
_FACTOR, _MORE = 2, 16  # as soon as the first: so many times its records, and so many more


@dataclass(frozen=True, slots=True)
class Heard:
    """What a detector said of a second change: how late, and whether it called itself ready too long."""

    what: str
    stream: Stream
    index: int
    first: int
    second: int | None
    ready_too_long: bool


def hears_again(trial: Trial) -> None:
    """Raise Broken where a second change is never heard."""
    for case in _cases(trial):
        if case.second is None:
            raise Broken(f"a second change, {case.what}, is never heard", case.stream, case.index)


def rests_honestly(trial: Trial) -> None:
    """Raise Broken where a second change is heard late by a detector that says it is ready."""
    for case in _cases(trial):
        if case.ready_too_long:
            late = f"heard after {case.second} records, the first after {case.first}"
            raise Broken(f"a second change, {case.what}, is {late}, and meanwhile it is ready", case.stream, case.index)


def _cases(trial: Trial) -> list[Heard]:
    """Try each gap once; the result is kept on the trial."""
    if trial.heard_again is None:
        found = []
        for lasting in (False, True) if trial.shape is not Shape.EVENTS else (False,):
            for gap in GAPS:
                case = _case(trial, gap, lasting)
                if case is not None:
                    found.append(case)
        trial.heard_again = found
    return trial.heard_again


def _case(trial: Trial, gap: int, lasting: bool) -> Heard | None:
    """Return what is heard of a second change; nothing where the first is not heard."""
    shape, width, seed = trial.shape, trial.width, trial.seed
    each = max(trial.length // 3, 150)
    detector = after(trial.make(), trial.calm)
    first_change = streams.fault(shape, width, each, seed, 1.0)
    _, first = _until_alarm(detector, trial.calm.followed_by(first_change), len(trial.calm))
    if first is None:
        return None
    begun = trial.calm.followed_by(first_change[:first])
    between = streams.fault(shape, width, gap, seed + 1, 1.0 if lasting else 0.0)
    whole = begun.followed_by(between)
    after(detector, whole.cut(len(begun), len(whole)))
    last = whole.followed_by(streams.fault(shape, width, each, seed + 2, 3.0))
    ready, second = _until_alarm(detector, last, len(whole))
    bound = _FACTOR * first + _MORE
    what = f"{gap} records after an alarm {'whose cause lasts' if lasting else 'when all was well again'}"
    return Heard(what, last, len(whole), first, second, any(ready[bound:]))


def _until_alarm(detector: Judged, stream: Stream, start: int) -> tuple[list[bool], int | None]:
    """Feed a stream from a record on, up to an alarm; return whether it was ready after each record, and how many it took."""
    ready: list[bool] = []
    for index in range(start, len(stream)):
        one = stream.cut(index, index + 1)
        if detector.feed(one.records, one.times_ms):
            return ready, index - start + 1
        ready.append(detector.ready)
    return ready, None
