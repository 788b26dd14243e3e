"""Pictures for docs/detectors.md: each detector on a real incident, as one SVG each, drawn without a library.

    .venv/bin/python benchmarks/detector_pictures.py

A picture shows the stretch around one labelled window of NAB, thinned to its extremes; the window is shaded, every alarm is
a line. Detectors on events see whether each value keeps a limit, which is drawn; detectors on vectors see all curves
together. Each incident was picked because the detector does what it is for there: how often it does not, the tables say.
Only the drawing is kept in the project, never the data.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from html import escape
from typing import Any

import harness
import numpy as np
from nab_scoring import Floats, Series, datasets, load

from failshut_detectors import registry

FOLDER = harness.ROOT / "docs" / "pictures"
WIDTH, HEIGHT, TOP, BOTTOM = 760, 150, 34, 12
COLUMNS = 380
INKS = ("#456", "#2a8", "#a5a")


@dataclass(frozen=True, slots=True)
class Scene:
    """What a detector is shown: files of NAB, which window, its parameters, and the limit that makes events of values."""

    files: tuple[str, ...]
    window: int
    given: dict[str, Any] = field(default_factory=dict)
    limit: float | None = None


LATENCY = "realKnownCause/ec2_request_latency_system_failure.csv"
AD_EXCHANGE = ("realAdExchange/exchange-3_cpc_results.csv", "realAdExchange/exchange-3_cpm_results.csv")
SCENES: dict[str, Scene] = {
    "local_seasonal": Scene(("realAWSCloudwatch/rds_cpu_utilization_cc0c53.csv",), 0),
    "bernoulli_cusum": Scene(("realAWSCloudwatch/ec2_cpu_utilization_fe7f93.csv",), 1, limit=29.0),
    "seasonal_record": Scene(("realAWSCloudwatch/grok_asg_anomaly.csv",), 2),
    "false_trip_budget": Scene(("realKnownCause/nyc_taxi.csv",), 4, {"per_records": 2_000.0}),
    "cusum": Scene((LATENCY,), 1),
    "ewma": Scene((LATENCY,), 1),
    "adwin": Scene(("realAWSCloudwatch/ec2_cpu_utilization_5f5533.csv",), 1),
    "page_hinkley": Scene(("realAWSCloudwatch/rds_cpu_utilization_cc0c53.csv",), 0),
    "kswin": Scene(("realAWSCloudwatch/ec2_cpu_utilization_53ea38.csv",), 1, {"alpha": 0.0001}),
    "standard_absolute_deviation": Scene(("realAWSCloudwatch/rds_cpu_utilization_e47b3b.csv",), 0),
    "half_space_trees": Scene((LATENCY,), 1),
    "fhddm": Scene(("realAWSCloudwatch/ec2_disk_write_bytes_c0d644.csv",), 0, limit=6_100_000.0),
    "hddm_a": Scene(("realAWSCloudwatch/ec2_cpu_utilization_fe7f93.csv",), 1, limit=29.0),
    "hddm_w": Scene(("realAWSCloudwatch/ec2_disk_write_bytes_1ef3de.csv",), 0, limit=27_000_000.0),
    "ddm": Scene(("realAWSCloudwatch/ec2_cpu_utilization_24ae8d.csv",), 0, limit=0.2),
    "eddm": Scene(("realAWSCloudwatch/elb_request_count_8c0756.csv",), 1, limit=220.0),
    "mahalanobis": Scene(AD_EXCHANGE, 0),
    "mewma": Scene(AD_EXCHANGE, 0),
}


def records(scene: Scene, curves: Sequence[Series]) -> list[Any]:
    """What the detector is fed."""
    if len(curves) > 1:
        return list(zip(*(curve.values.tolist() for curve in curves), strict=True))
    values = curves[0].values
    return (values if scene.limit is None else (values <= scene.limit).astype(float)).tolist()  # type: ignore[no-any-return]


def alarms_of(name: str, scene: Scene, curves: Sequence[Series]) -> list[int]:
    """The records at which it speaks."""
    detector: Any = registry.build(name, scene.given, len(curves))
    return [alarm.index for alarm in detector.feed(records(scene, curves), curves[0].times_ms.tolist())]


def title(name: str, scene: Scene) -> str:
    """What the picture shows."""
    given = ", ".join(f"{key}={value:,g}" for key, value in scene.given.items())
    limit = "" if scene.limit is None else f", events: value <= {scene.limit:,.10g}"
    files = " and ".join(file.rsplit("/", 1)[-1].removesuffix(".csv") for file in scene.files)
    return f"{name}{f' ({given})' if given else ''} on {files}{limit}"


def together(curves: Sequence[Series]) -> list[Series]:
    """The curves at the times that all of them have."""
    common = set(curves[0].times_ms.tolist()).intersection(*(curve.times_ms.tolist() for curve in curves[1:]))
    found = []
    for curve in curves:
        _, first = np.unique(curve.times_ms, return_index=True)
        rows = [row for row in first.tolist() if int(curve.times_ms[row]) in common]
        kept = curve.times_ms[rows]
        windows = tuple(
            (int(np.searchsorted(kept, curve.times_ms[start])), int(np.searchsorted(kept, curve.times_ms[end])))
            for start, end in curve.windows
        )
        found.append(Series(curve.name, curve.values[rows], kept, windows))
    return found


def stretch(series: Series, window: int) -> tuple[int, int]:
    """The first record of a picture, and the one behind its last."""
    start, end = series.windows[window]
    return max(0, start - 5 * (end - start)), min(len(series.values), end + (end - start))


def polyline(values: Floats, ink: str, top: float, height: float) -> str:
    """One curve, thinned to its extremes."""
    low, high = float(values.min()), float(values.max())

    def point(row: int, value: float) -> str:
        return f"{row / len(values) * WIDTH:.1f},{top + (high - value) / ((high - low) or 1.0) * height:.1f}"

    step = max(1, len(values) // COLUMNS)
    points = []
    for at in range(0, len(values), step):
        some = values[at : at + step]
        points += [point(at, float(some.min())), point(at, float(some.max()))]
    return f'<polyline points="{" ".join(points)}" fill="none" stroke="{ink}" stroke-width="0.8"/>\n'


def limit_line(values: Floats, limit: float, top: float, height: float) -> str:
    """A limit, where it lies within the stretch."""
    low, high = float(values.min()), float(values.max())
    if not low <= limit <= high:
        return ""
    y = top + (high - limit) / ((high - low) or 1.0) * height
    return f'<line x1="0" x2="{WIDTH}" y1="{y:.1f}" y2="{y:.1f}" stroke="#888" stroke-dasharray="5 4"/>\n'


def picture(name: str, scene: Scene, curves: Sequence[Series], alarms: list[int]) -> str:
    """Draw the stretch around a window of the first curve."""
    first, last = stretch(curves[0], scene.window)
    start, end = curves[0].windows[scene.window]

    def x(row: int) -> float:
        return (row - first) / (last - first) * WIDTH

    inner = HEIGHT - TOP - BOTTOM
    each = inner / len(curves)
    drawn = "".join(
        polyline(curve.values[first:last], ink, TOP + place * each + 1, each - 2)
        for place, (curve, ink) in enumerate(zip(curves, INKS, strict=False))
    )
    if scene.limit is not None:
        drawn += limit_line(curves[0].values[first:last], scene.limit, TOP + 1, inner - 2)
    lines = "".join(
        f'<line x1="{x(row):.1f}" x2="{x(row):.1f}" y1="{TOP}" y2="{HEIGHT - BOTTOM}"/>'
        for row in alarms
        if first <= row < last
    )
    return (
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} {HEIGHT}" font-family="sans-serif" font-size="13">\n'
        f'<rect width="{WIDTH}" height="{HEIGHT}" fill="#fff"/>\n'
        f'<rect x="{x(start):.1f}" y="{TOP}" width="{x(end) - x(start):.1f}" height="{inner}" fill="#fde9c8"/>\n'
        f"{drawn}"
        f'<g stroke="#c22" stroke-width="1.6" stroke-opacity="0.75">{lines}</g>\n'
        f'<text x="6" y="20">{escape(title(name, scene))}</text>\n</svg>\n'
    )


def main() -> None:
    folder = datasets()
    if folder is None or not (folder / "nab").is_dir():
        harness.say("Skipped: no data sets here. Name their folder in FAILSHUT_DATASETS.")
        return
    by_name = {series.name: series for series in load(folder / "nab").series}
    FOLDER.mkdir(exist_ok=True)
    for name, scene in SCENES.items():
        curves = together([by_name[file] for file in scene.files]) if len(scene.files) > 1 else [by_name[scene.files[0]]]
        alarms = alarms_of(name, scene, curves)
        path = FOLDER / f"{name}.svg"
        path.write_text(picture(name, scene, curves, alarms))
        first, last = stretch(curves[0], scene.window)
        start, end = curves[0].windows[scene.window]
        within = [row - start for row in alarms if start <= row <= end]
        harness.say(
            f"{path.relative_to(harness.ROOT)}: {sum(first <= row < last for row in alarms)} alarms shown, first in window: "
            f"{within[0] if within else None} of {end - start}"
        )


if __name__ == "__main__":
    main()
