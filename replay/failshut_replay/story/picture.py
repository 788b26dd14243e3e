"""Pictures: for each gate its series, its conditions' scores, and a band for each story: when it was open or closed, and why.

It is made for a chat message, a report and paper. Green and red have hatching too, for a grey print and for readers who
cannot distinguish them. If there is room, the bands hold words. Nothing here opens a window.
"""

from __future__ import annotations

import io
from collections.abc import Sequence
from contextlib import AbstractContextManager
from dataclasses import replace
from datetime import UTC, datetime
from typing import Any

import matplotlib
import matplotlib.dates as dates
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.backends.backend_svg import FigureCanvasSVG
from matplotlib.figure import Figure
from matplotlib.patches import Patch

from failshut_replay.story.differences import open_inside_ms
from failshut_replay.story.labels import Incident
from failshut_replay.story.story import BETWEEN_HEARTBEATS, Story, Trace, gates_of
from failshut_replay.story.timeline import Span, Timeline

GATES_MAX = 12
SERIES_DRAWN_MAX = 3
SPANS_DRAWN_MAX = 2_000
NARROW, WIDTH_MIN = 1 / 60, 1 / 600
"""Parts of a picture's width: what is narrower has no edge, and how wide a closing is at least."""

SCORE_LINES = (("#1f4e79", "-"), ("#b5651d", "--"), ("#3b7d3b", "-."), ("#6a3d9a", ":"), ("#555555", (0, (5, 1))))
COLOURS = {
    "open": ("#9fd8ae", ""),
    "tripped": ("#e06666", "///"),
    "locked": ("#8d3b3b", "xxx"),
    "proving": ("#f2cf7a", "..."),
    "lapsed": ("#c9b7d8", "\\\\\\"),
    "closed": ("#d9d9d9", ""),
}
WORDS = {
    "open": "open",
    "tripped": "closed: tripped",
    "locked": "closed: locked",
    "proving": "open to probes",
    "lapsed": "closed: lapsed or interlock",
    "closed": "closed: not enough evidence, or no policy",
}
EMPTY_CAUSES = ("insufficient", "no_policy", "bad_policy", "term")


def picture(stories: Sequence[Story], labels: Sequence[Incident] = (), title: str = "", kind: str = "png") -> bytes:
    """Return a picture of stories of one recording as PNG or SVG."""
    with style():
        return rendered(_draw(stories, labels, title), kind)


def style() -> AbstractContextManager[None]:
    """Return within what a picture is drawn, so that it is the same each time."""
    return matplotlib.rc_context({"svg.hashsalt": "failshut", "svg.fonttype": "path", "hatch.linewidth": 0.6, "font.size": 9})


def rendered(figure: Figure, kind: str) -> bytes:
    """Return a figure as PNG or SVG: the same bytes each time."""
    out = io.BytesIO()
    if kind == "svg":
        FigureCanvasSVG(figure).print_svg(out, metadata={"Date": None})  # type: ignore[no-untyped-call]
    else:
        FigureCanvasAgg(figure).print_png(out, metadata={"Software": None})  # type: ignore[no-untyped-call]
    return out.getvalue()


def _draw(stories: Sequence[Story], labels: Sequence[Incident], title: str) -> Figure:
    gates = gates_of(stories)[:GATES_MAX]
    traces = {
        gate: [trace for (of, _), trace in stories[0].traces.items() if of == gate and _says_something(trace)][
            :SERIES_DRAWN_MAX
        ]
        for gate in gates
    }
    heights: list[float] = []
    for gate in gates:
        heights += [1.5] * len(traces[gate]) + [0.8] * len(_graded(stories, gate)) + [0.34 * len(stories) + 0.12]
    figure = Figure(figsize=(11, 1.3 + sum(heights) + 0.18 * len(heights)), dpi=110, layout="constrained")
    axes = figure.subplots(len(heights), 1, sharex=True, squeeze=False, gridspec_kw={"height_ratios": heights})[:, 0]
    for axis in axes:
        axis.set_xlim(moment_on_axis(stories[0].begin_ms), moment_on_axis(stories[0].end_ms))
    row = 0
    shown: dict[str, None] = {}
    for gate in gates:
        own = [label for label in labels if label.gate == gate]
        for trace in traces[gate]:
            _series(axes[row], stories[0], trace)
            _incidents(axes[row], own, notes=trace is traces[gate][0])
            row += 1
        for story in _graded(stories, gate):
            _scores(axes[row], story, gate, story.name if len(stories) > 1 else "")
            _incidents(axes[row], own, notes=False)
            row += 1
        shown.update(dict.fromkeys(_bands(axes[row], stories, gate, own)))
        _incidents(axes[row], own, notes=not traces[gate])
        row += 1
    time_axis(axes[-1], stories[0].begin_ms, stories[0].end_ms)
    patches = [Patch(facecolor=COLOURS[name][0], hatch=COLOURS[name][1], edgecolor="#555", label=WORDS[name]) for name in shown]
    if labels:
        patches.append(Patch(facecolor="none", edgecolor="#1f4e9e", linewidth=1.4, label="labelled incident"))
    figure.legend(handles=patches, loc="outside lower center", ncols=min(4, max(1, len(patches))), frameon=False)
    if title:
        figure.suptitle(title, fontsize=11, x=0.01, ha="left")
    return figure


def _says_something(trace: Trace) -> bool:
    """Return whether there is something to draw: heartbeats that all came are no picture."""
    if not trace.name.endswith(BETWEEN_HEARTBEATS):
        return True
    columns = trace.columns.values()
    mean = sum(column[2] for column in columns) / sum(column[3] for column in columns)
    return max(column[1] for column in columns) > 5 * mean


def moment_on_axis(time_ms: float) -> Any:
    """Return where a time stands on a time axis."""
    return dates.date2num(datetime.fromtimestamp(time_ms / 1000, UTC))  # type: ignore[no-untyped-call]


def _series(axis: Axes, story: Story, trace: Any) -> None:
    columns = sorted(trace.columns)
    times = [moment_on_axis(story.column_ms(column)) for column in columns]
    lows, highs, totals, counts = zip(*(trace.columns[column] for column in columns), strict=True)
    axis.fill_between(times, lows, highs, color="#7aa6d6", alpha=0.45, linewidth=0)
    means = [total / count for total, count in zip(totals, counts, strict=True)]
    axis.plot(times, means, color="#1f4e79", linewidth=1)
    axis.set_title(trace.name, loc="left", fontsize=9, pad=3)
    axis.grid(axis="y", color="#ddd", linewidth=0.5)
    axis.spines[["top", "right"]].set_visible(False)


def _graded(stories: Sequence[Story], gate: str) -> list[Story]:
    return [story for story in stories if any(of == gate for of, _ in story.scores)]


def _scores(axis: Axes, story: Story, gate: str, whose: str) -> None:
    """Draw the highest score of each condition, from 0 to 1, where it demands."""
    traces = [trace for (of, _), trace in story.scores.items() if of == gate][: len(SCORE_LINES)]
    for trace, (colour, line) in zip(traces, SCORE_LINES, strict=False):
        columns = sorted(trace.columns)
        times = [moment_on_axis(story.column_ms(column)) for column in columns]
        highs = [trace.columns[column][1] for column in columns]
        axis.plot(times, highs, color=colour, linestyle=line, linewidth=1, label=trace.name)
    axis.axhline(1.0, color="#b03030", linewidth=0.6)
    axis.set_ylim(-0.04, 1.12)
    axis.set_yticks([0, 1], ["0", "demands"])
    axis.set_title(f"scores{f' ({whose})' if whose else ''}", loc="left", fontsize=9, pad=3)
    axis.legend(loc="lower right", bbox_to_anchor=(1.0, 0.98), ncols=3, fontsize=7, frameon=False, borderaxespad=0.1)
    axis.spines[["top", "right"]].set_visible(False)


def look_of(span: Span) -> str:
    """Return which of the looks of a band a span has."""
    if span.open:
        return "proving" if span.breaker == "PROVING" else "open"
    if span.breaker in ("TRIPPED", "LOCKED"):
        return span.breaker.lower()
    return "closed" if span.cause in EMPTY_CAUSES else "lapsed"


def _joined(spans: Sequence[Span]) -> list[tuple[str, Span]]:
    """Merge neighbours that look alike; the first one's cause speaks for them."""
    found: list[tuple[str, Span]] = []
    for span in spans:
        look = look_of(span)
        if found and found[-1][0] == look:
            found[-1] = (look, replace(found[-1][1], end_ms=span.end_ms))
        else:
            found.append((look, span))
    return found


def _inside(stories: Sequence[Story], gate: str, labels: Sequence[Incident]) -> str:
    """Return for how long each story's gate was open inside the incidents, in words; nothing where none is labelled."""
    found = [open_inside_ms(story.timelines.get(gate, Timeline(gate)), labels, story.end_ms) for story in stories]
    if not found or not found[0][1]:
        return ""
    opened = " / ".join(f"{open_ms / 1000:g}" for open_ms, _ in found)
    return f", open for {opened} of {found[0][1] / 1000:g} s inside incidents"


def _bands(axis: Axes, stories: Sequence[Story], gate: str, labels: Sequence[Incident]) -> list[str]:
    looks: list[str] = []
    for row, story in enumerate(stories):
        timeline = story.timelines.get(gate)
        begin_ms, end_ms = story.begin_ms, story.end_ms
        spans = _joined(timeline.spans if timeline else [])[:SPANS_DRAWN_MAX]
        for look, span in sorted(spans, key=lambda one: not one[1].open):  # what is closed stands above what is open
            start_ms, stop_ms = max(begin_ms, span.start_ms), min(end_ms, span.end_ms)
            if stop_ms <= start_ms:
                continue
            looks.append(look)
            colour, hatch = COLOURS[look]
            left, width = moment_on_axis(start_ms), moment_on_axis(stop_ms) - moment_on_axis(start_ms)
            draw_band(axis, left, width, row, colour, hatch, seen=not span.open)
            if stop_ms - start_ms > (end_ms - begin_ms) * 0.075:
                words = "open" if span.open else span.cause.replace("_", " ")
                box = {"boxstyle": "round,pad=0.1", "facecolor": colour, "edgecolor": "none"}
                axis.text(left + width / 2, row, words, ha="center", va="center", fontsize=8, bbox=box, clip_on=True)
    axis.set_ylim(len(stories) - 0.45, -0.55)
    axis.set_yticks(range(len(stories)), [story.name for story in stories] if len(stories) > 1 else [""])
    axis.set_title(f"gate {gate}{_inside(stories, gate, labels)}", loc="left", fontsize=9, fontweight="bold", pad=3)
    axis.spines[["top", "right", "left"]].set_visible(False)
    axis.tick_params(axis="y", length=0)
    return looks


def draw_band(axis: Axes, left: float, width: float, row: int, colour: str, hatch: str, *, seen: bool) -> None:
    """Draw a part of a band. A narrow one has neither edge nor hatching, which would be all of it; `seen`: it has a width."""
    begin, end = axis.get_xlim()
    narrow = width < (end - begin) * NARROW
    axis.broken_barh(
        [(left, max(width, (end - begin) * WIDTH_MIN if seen else 0.0))],
        (row - 0.42, 0.84),
        facecolor=colour,
        hatch="" if narrow else hatch,
        edgecolor="none" if narrow else "#555",
        linewidth=0.4,
    )


def _incidents(axis: Axes, labels: Sequence[Incident], notes: bool) -> None:
    for label in labels:
        axis.axvspan(
            moment_on_axis(label.start_ms),
            moment_on_axis(label.end_ms),
            fill=False,
            edgecolor="#1f4e9e",
            linewidth=1.4,
            zorder=5,
        )
        if notes and label.note:
            text = label.note if len(label.note) <= 60 else label.note[:57] + "..."
            axis.annotate(
                text,
                (moment_on_axis(label.start_ms), 1),
                xycoords=("data", "axes fraction"),
                xytext=(3, -3),
                textcoords="offset points",
                va="top",
                fontsize=7.5,
                color="#1f4e9e",
                zorder=6,
                bbox={"boxstyle": "round,pad=0.15", "facecolor": "white", "alpha": 0.8, "edgecolor": "none"},
            )


def time_axis(axis: Axes, begin_ms: int, end_ms: int) -> None:
    """Make the time axis of a picture, in UTC."""
    locator = dates.AutoDateLocator(maxticks=10)  # type: ignore[no-untyped-call]
    axis.xaxis.set_major_locator(locator)
    axis.xaxis.set_major_formatter(dates.ConciseDateFormatter(locator))  # type: ignore[no-untyped-call]
    axis.set_xlim(moment_on_axis(begin_ms), moment_on_axis(end_ms))
    axis.set_xlabel("time (UTC)")
