"""The answer of a Prometheus range query, as any server of that API gives it.

Each series is in order, and they are merged by time. SERVICE is the label service, job or instance, written as the codecs write
it. A slash is %2F, as in the job labels of the Prometheus operator. METRIC is the metric's name. Other labels distinguish
series of one name.

Limits: native histograms are refused. An answer does not say whether they count since the start, as the series behind them do,
or are the result of rate(). The functions histogram_avg, histogram_count and histogram_quantile make values of them.
"""

from __future__ import annotations

import heapq
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import msgspec

from failshut_replay.errors import ImportFault
from failshut_replay.sources.encodings import whole
from failshut_replay.sources.front_door import Event
from failshut_replay.sources.notes import Notes, Placed
from failshut_replay.sources.values import Misread, item_of
from failshut_replay.times import check_ms
from failshut_streams.codecs import BadName, series_id

BYTES_MAX = 512 * 1024 * 1024
SERIES_MAX = 10_000


class _Data(msgspec.Struct, rename="camel"):
    result_type: str
    result: msgspec.Raw


class _Answer(msgspec.Struct):
    data: _Data | None = None
    status: str = ""
    error: str = ""


class _Series(msgspec.Struct):
    metric: dict[str, str]
    values: list[tuple[float, Any]] = []
    histograms: list[Any] = []


def read_answer(path: Path, notes: Notes) -> Iterator[Placed]:
    """Yield the readings of an answer, in the order of time.

    Raises:
        ImportFault: it is none, or holds what is not taken.
    """
    results = _results(path, whole(path, BYTES_MAX, "ask for a shorter range or a longer step"))
    names = _names(path, [result.metric for result in results])
    for name, result in zip(names, results, strict=True):
        if result.histograms:
            raise ImportFault(
                f"{path}: {name} is a native histogram, which is not taken: ask for histogram_avg(...), histogram_count(...) "
                "or histogram_quantile(...) of it"
            )
    streams = [_readings(path, name, result, notes) for name, result in zip(names, results, strict=True)]
    yield from heapq.merge(*streams, key=lambda placed: placed.event.time_ms)


def _results(path: Path, data: bytes) -> list[_Series]:
    try:
        answer = msgspec.json.decode(data, type=_Answer)
    except (msgspec.MsgspecError, UnicodeError, RecursionError) as error:
        raise ImportFault(
            f"{path} is not the answer of a Prometheus query: {error} (lines of OTLP or telemetry: name it .jsonl)"
        ) from error
    if answer.data is None:
        raise ImportFault(f"{path} is not the answer of a Prometheus query that succeeded: {answer.error or 'no data'}")
    if answer.status != "success" or answer.data.result_type != "matrix":
        found = f"status {answer.status}, {answer.data.result_type}"
        raise ImportFault(f"{path}: {found:.80}: expected a range query that succeeded (matrix)")
    try:
        results = msgspec.json.decode(answer.data.result, type=list[_Series])
    except (msgspec.MsgspecError, UnicodeError, RecursionError) as error:
        raise ImportFault(f"{path} is not the answer of a Prometheus range query: {error}") from error
    if len(results) > SERIES_MAX:
        raise ImportFault(f"{path} holds {len(results)} series, at most {SERIES_MAX} are taken")
    return results


def _readings(path: Path, name: str, result: _Series, notes: Notes) -> Iterator[Placed]:
    for number, (at_s, value) in enumerate(result.values, 1):
        where = f"{name}, value {number}"
        try:
            time_ms = check_ms(int(at_s * 1000 + 0.5))
        except (ValueError, OverflowError) as error:
            raise ImportFault(f"{path}, {where}: {error}") from error
        try:
            item = item_of(name, value)
        except Misread:
            notes.misread_value(where, value)
            item = ("fault", name, "not a number")
        yield Placed(where, Event(time_ms, item))


def _names(path: Path, metrics: list[dict[str, str]]) -> list[str]:
    """Name each series: by service and metric, and by its other labels where that is not enough."""
    found, whole_names = [], []
    try:
        for labels in metrics:
            source = next((name for name in ("service", "job", "instance") if labels.get(name)), "")
            service, metric = labels.get(source, "prometheus"), labels.get("__name__", "value")
            rest = ",".join(f"{key}={labels[key]}" for key in sorted(labels) if key not in ("__name__", source))
            found.append(series_id(service, metric))
            whole_names.append((service, f"{metric}{{{rest}}}" if rest else metric))
        counts = Counter(found)
        names = [series_id(*full) if counts[name] > 1 else name for name, full in zip(found, whole_names, strict=True)]
    except BadName as error:
        raise ImportFault(f"{path}: the labels of a series cannot be its name: {error}") from error
    alike = next((name for name, count in Counter(names).items() if count > 1), "")
    if alike:
        raise ImportFault(f"{path}: two series are called {alike}")
    return names
