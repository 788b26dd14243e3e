"""Pictures for docs/detectors.md: each detector on a real incident, as one SVG each, drawn without a library.

    .venv/bin/python benchmarks/detector_pictures.py

A picture shows the stretch around one NAB window, thinned to its extremes; the window is shaded, every alarm is a
line. Only the drawing is kept in the project, never the data.
"""

from __future__ import annotations

from collections.abc import Callable
from html import escape
from pathlib import Path

import harness
from nab_scoring import Series, datasets, load

from failshut_detectors import Adwin, Cusum, Detector, Ewma, FalseTripBudget, PageHinkley, SeasonalRecord

FOLDER = harness.ROOT / "docs" / "pictures"
WIDTH, HEIGHT, TOP, BOTTOM = 760, 150, 34, 12
COLUMNS = 380

PICTURES: dict[str, tuple[str, Callable[[], Detector], str, int]] = {
    "seasonal_record": ("SeasonalRecord()", SeasonalRecord, "realAWSCloudwatch/grok_asg_anomaly.csv", 2),
    "false_trip_budget": (
        "FalseTripBudget(per_records=2_000)",
        lambda: FalseTripBudget(per_records=2_000),
        "realKnownCause/nyc_taxi.csv",
        4,
    ),
    "cusum": ("Cusum(arl=10_000)", lambda: Cusum(arl=10_000), "realKnownCause/ec2_request_latency_system_failure.csv", 1),
    "ewma": ("Ewma(arl=10_000)", lambda: Ewma(arl=10_000), "realKnownCause/ec2_request_latency_system_failure.csv", 1),
    "adwin": ("Adwin()", Adwin, "realAWSCloudwatch/ec2_cpu_utilization_5f5533.csv", 1),
    "page_hinkley": ("PageHinkley()", PageHinkley, "realAWSCloudwatch/rds_cpu_utilization_cc0c53.csv", 0),
}


def picture(title: str, series: Series, window: int, alarms: list[int]) -> str:
    """Draw the stretch around a window."""
    start, end = series.windows[window]
    first, last = max(0, start - 5 * (end - start)), min(len(series.values), end + (end - start))
    values = series.values[first:last]
    low, high = float(values.min()), float(values.max())

    def x(row: int) -> float:
        return (row - first) / (last - first) * WIDTH

    def y(value: float) -> float:
        return TOP + (high - value) / ((high - low) or 1.0) * (HEIGHT - TOP - BOTTOM)

    inner = HEIGHT - TOP - BOTTOM
    step = max(1, len(values) // COLUMNS)
    points = []
    for at in range(0, len(values), step):
        some = values[at : at + step]
        points += [f"{x(first + at):.1f},{y(float(some.min())):.1f}", f"{x(first + at):.1f},{y(float(some.max())):.1f}"]
    lines = "".join(
        f'<line x1="{x(row):.1f}" x2="{x(row):.1f}" y1="{TOP}" y2="{HEIGHT - BOTTOM}"/>'
        for row in alarms
        if first <= row < last
    )
    return (
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} {HEIGHT}" font-family="sans-serif" font-size="13">\n'
        f'<rect width="{WIDTH}" height="{HEIGHT}" fill="#fff"/>\n'
        f'<rect x="{x(start):.1f}" y="{TOP}" width="{x(end) - x(start):.1f}" height="{inner}" fill="#fde9c8"/>\n'
        f'<polyline points="{" ".join(points)}" fill="none" stroke="#456" stroke-width="0.8"/>\n'
        f'<g stroke="#c22" stroke-width="1.6">{lines}</g>\n'
        f'<text x="6" y="20">{escape(title)} on {escape(series.name)}</text>\n</svg>\n'
    )


def main() -> None:
    folder = datasets()
    if folder is None or not (folder / "nab").is_dir():
        harness.say("Skipped: no data sets here. Name their folder in FAILSHUT_DATASETS.")
        return
    by_name = {series.name: series for series in load(folder / "nab").series}
    FOLDER.mkdir(exist_ok=True)
    for name, (title, make, file, window) in PICTURES.items():
        series = by_name[file]
        alarms = [alarm.index for alarm in make().feed(series.values.tolist(), series.times_ms.tolist())]
        path = Path(FOLDER / f"{name}.svg")
        path.write_text(picture(title, series, window, alarms))
        start, end = series.windows[window]
        harness.say(
            f"{path.relative_to(harness.ROOT)}: {len(alarms)} alarms, first in window: "
            f"{next((row - start for row in alarms if start <= row <= end), None)} of {end - start}"
        )


if __name__ == "__main__":
    main()
