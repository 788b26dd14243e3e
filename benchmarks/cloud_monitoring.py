"""Do thresholds that were chosen on one corpus hold on another: Microsoft's cloud-monitoring telemetry.

22 series of production services, a record every minute or hour, with the records labelled that people on call
would want to know of. No threshold was fitted to them; what else was chosen with them in view, the tolerance
below among it, stands in docs/detectors.md.

An event is a run of labelled records. It is found when a detector speaks within it or at most three records
before or after it: labels drawn by hand are that exact, and the figures for one record and for none stand
beside. Every alarm elsewhere is a false one, each by itself. Events that end within the first 100 records
are left out, as are those records: every detector may look at a stream before it judges it. Records without
a value are skipped.

    make bench NAME=cloud_monitoring
"""

from __future__ import annotations

import csv
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from statistics import median

import harness
import numpy as np
from detector_contenders import VALUES, Contender, ours, rivers
from nab_scoring import Series, datasets

from failshut_detectors import Alarm

LOOKED_AT = 100  # records of each series before the first that counts
NEAR = 3  # records


@dataclass
class Outcome:
    """Of all events: how many were found, how late, and how often a detector spoke elsewhere."""

    events: int = 0
    found: int = 0
    false_alarms: int = 0
    delays: tuple[int, ...] = ()

    @property
    def recall(self) -> float:
        return self.found / self.events if self.events else 0.0

    @property
    def precision(self) -> float:
        spoken = self.found + self.false_alarms
        return self.found / spoken if spoken else 0.0

    @property
    def f1(self) -> float:
        both = self.recall + self.precision
        return 2 * self.recall * self.precision / both if both else 0.0


def load(folder: Path) -> list[Series]:
    """Read every series of `folder`; its windows are the runs of labelled records."""
    found = []
    for path in sorted(folder.glob("*/*.csv")):
        with path.open(newline="") as file:
            rows = [row for row in csv.DictReader(file) if row["Value"]]
        labels = np.array([float(row["Label"]) > 0 for row in rows], dtype=np.int64)
        edges = np.diff(np.concatenate([[0], labels, [0]]))
        windows = zip(np.nonzero(edges == 1)[0].tolist(), (np.nonzero(edges == -1)[0] - 1).tolist(), strict=True)
        times = [datetime.fromisoformat(row["TimeStamp"]) for row in rows]
        times_ms = [int((at if at.tzinfo else at.replace(tzinfo=UTC)).timestamp() * 1000) for at in times]
        values = np.array([float(row["Value"]) for row in rows])
        name = f"{path.parent.name}/{path.name}"
        found.append(Series(name, values, np.array(times_ms, dtype=np.int64), tuple(windows)))
    return found


def judge(series: Sequence[Series], alarms: Sequence[Sequence[int]], near: int, first_row: int = LOOKED_AT) -> Outcome:
    """Compare alarms with events, from a row of each series on."""
    outcome = Outcome()
    for each, spoken in zip(series, alarms, strict=True):
        windows = [window for window in each.windows if window[1] >= first_row]
        first: dict[int, int] = {}
        for row in spoken:
            if row < first_row:
                continue
            hit = [number for number, (start, end) in enumerate(windows) if start - near <= row <= end + near]
            outcome.false_alarms += not hit and not any(start - near <= row <= end + near for start, end in each.windows)
            for number in hit:
                first.setdefault(number, row)
        outcome.events += len(windows)
        outcome.found += len(first)
        outcome.delays += tuple(max(0, row - windows[number][0]) for number, row in first.items())
    return outcome


def contenders() -> list[Contender]:
    """Every detector of the registry that reads values, as it comes; river's own, bare; and the two that need no detector."""
    return [*ours(VALUES), *rivers(VALUES), Contender("always", Always), Contender("never", Never)]


class Always:
    """Speaks at every record."""

    def feed(self, values: Sequence[float], times_ms: Sequence[int]) -> list[Alarm]:
        return [Alarm(index, "") for index in range(len(values))]


class Never:
    """Speaks at none."""

    def feed(self, values: Sequence[float], times_ms: Sequence[int]) -> list[Alarm]:
        return []


def alarms_of(contender: Contender, series: Series) -> list[int]:
    """The records at which a new detector speaks."""
    return [alarm.index for alarm in contender.make().feed(series.values.tolist(), series.times_ms.tolist())]


def main() -> None:
    folder = datasets()
    if folder is None or not (folder / "cloud-monitoring").is_dir():
        harness.say("Skipped: no data sets here. Name their folder in FAILSHUT_DATASETS.")
        return
    report = harness.Report("cloud_monitoring", ["failshut", "numpy", "river"])
    series = load(folder / "cloud-monitoring")
    report.figure("series", len(series), "")
    report.figure("records", sum(len(each.values) for each in series), "")
    report.figure("events after the first 100 records", judge(series, [[] for _ in series], NEAR).events, "")
    f1 = 0.0
    for contender in contenders():
        name = contender.name
        harness.say(f"{name} on {len(series)} series")
        alarms = [alarms_of(contender, each) for each in series]
        outcome = judge(series, alarms, NEAR)
        report.figure(f"{name}: recall", outcome.recall, "")
        report.figure(f"{name}: precision", outcome.precision, "")
        report.figure(f"{name}: F1", outcome.f1, "")
        report.figure(f"{name}: false alarms", outcome.false_alarms, "")
        if outcome.delays:
            report.figure(f"{name}: delay, median", median(outcome.delays), "records")
        if name == "seasonal_record":
            f1 = outcome.f1
            for near in (1, 0):
                report.figure(f"{name}: F1 where only {near} records near count", judge(series, alarms, near).f1, "")
    report.goal("seasonal_record: F1 short of 0.45", max(0.0, 0.45 - f1), 0.0)
    report.finish()


if __name__ == "__main__":
    main()
