"""One picture of a trial: the series, and a row for each policy with the times at which its gate was closed."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.patches import Patch

from failshut_replay.story.picture import COLOURS, draw_band, moment_on_axis, rendered, style, time_axis
from failshut_replay.trial.lived import Closed, Lived
from failshut_replay.trial.series import Series

COLUMNS = 900
CLOSINGS_DRAWN_MAX = 2_000
LOOKS = {"tripped": "closed: tripped", "lapsed": "closed by itself"}


def trial_picture(series: Series, lives: Sequence[Lived], kind: str = "png") -> bytes:
    """Return a picture as PNG or SVG (`kind`)."""
    with style():
        heights = [2.4, 0.34 * len(lives) + 0.2]
        figure = Figure(figsize=(11, 1.4 + sum(heights)), dpi=110, layout="constrained")
        values, bands = figure.subplots(2, 1, sharex=True, gridspec_kw={"height_ratios": heights})
        _values(values, series)
        _bands(bands, series, lives)
        time_axis(bands, series.times_ms[0], series.times_ms[-1])
        patches = [
            Patch(facecolor=COLOURS[look][0], hatch=COLOURS[look][1], edgecolor="#555", label=LOOKS[look]) for look in LOOKS
        ]
        patches.append(Patch(facecolor=COLOURS["closed"][0], label="not open yet: it learns"))
        figure.legend(handles=patches, loc="outside lower center", ncols=3, frameon=False)
        return rendered(figure, kind)


def _values(axis: Axes, series: Series) -> None:
    """Draw the lowest, highest and mean value of each column of the picture."""
    times_ms = np.array(series.times_ms)
    values = np.array([np.nan if value is None else value for value in series.values])
    columns = (times_ms - times_ms[0]) * (COLUMNS - 1) // max(1, int(times_ms[-1] - times_ms[0]))
    starts = np.flatnonzero(np.diff(columns, prepend=-1))
    parts = [part[~np.isnan(part)] for part in np.split(values, starts[1:])]
    shown = [(times_ms[start], part) for start, part in zip(starts, parts, strict=True) if len(part)]
    at = [moment_on_axis(int(time_ms)) for time_ms, _ in shown]
    axis.fill_between(at, [p.min() for _, p in shown], [p.max() for _, p in shown], color="#7aa6d6", alpha=0.45, linewidth=0)
    axis.plot(at, [part.mean() for _, part in shown], color="#1f4e79", linewidth=0.8)
    axis.set_title(series.name, loc="left", fontsize=9, pad=3)
    axis.grid(axis="y", color="#ddd", linewidth=0.5)
    axis.spines[["top", "right"]].set_visible(False)


def _bands(axis: Axes, series: Series, lives: Sequence[Lived]) -> None:
    begin, end = moment_on_axis(series.times_ms[0]), moment_on_axis(series.times_ms[-1])
    axis.set_xlim(begin, end)
    for row, lived in enumerate(lives):
        opened = moment_on_axis(lived.opened_ms) if lived.opened_ms else end
        draw_band(axis, begin, opened - begin, row, *COLOURS["closed"], seen=True)
        draw_band(axis, opened, end - opened, row, *COLOURS["open"], seen=False)
        for closed in lived.closed[:CLOSINGS_DRAWN_MAX]:
            left = moment_on_axis(closed.start_ms)
            draw_band(axis, left, moment_on_axis(closed.end_ms) - left, row, *COLOURS[_look(closed)], seen=True)
    axis.set_ylim(len(lives) - 0.45, -0.55)
    axis.set_yticks(range(len(lives)), [lived.tried.name for lived in lives])
    axis.spines[["top", "right", "left"]].set_visible(False)
    axis.tick_params(axis="y", length=0)


def _look(closed: Closed) -> str:
    return "tripped" if closed.tripped else "lapsed"
