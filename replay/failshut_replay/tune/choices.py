"""What tuning leaves behind: three named choices, each a policy file that is ready, its diff and its held-out score.

- cautious: misses the fewest incidents; false trips come second;
- balanced: a missed incident weighs as much as a false trip;
- quick: the gate is open for the shortest time during incidents, for at most as many false trips as incidents.
"""

from __future__ import annotations

import difflib
import io
import json
from collections.abc import Sequence
from pathlib import Path

import matplotlib
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from matplotlib.ticker import ScalarFormatter

from failshut.whole_file import write_whole
from failshut_replay.errors import ReplayError
from failshut_replay.tune.search import CHOICES, Outcome, Tried, choose, held_out, pareto, told


def write_choices(tried: Sequence[Tried], today: str, now: Outcome, folder: Path) -> dict[str, dict[str, object]]:
    """Write the choices beside the journal and return their figures.

    Args:
        tried: every draw.
        today: the policy that was tuned, laid out as the drawn ones are.
        now: what it comes to as it is.
        folder: where the files go: NAME.yaml, NAME.diff, choices.json, pareto.png.

    Raises:
        ReplayError: nothing was judged.
    """
    if not tried:
        raise ReplayError("no policy was judged in this time: give it a larger --budget")
    figures: dict[str, dict[str, object]] = {"today": {"in_sample": told(now)}}
    chosen = {name: choose(tried, name) for name in CHOICES}
    for name, one in chosen.items():
        apart = held_out(tried, name)
        figures[name] = {"draw": one.number, "in_sample": told(one.outcome), "held_out": told(apart)}
        score = f"{apart.missed} of {len(apart.incidents)} missed, {apart.false_trips} false trips"
        head = f"# {name}, by `failshut tune` over {len(tried)} draws. Held-out: {score}.\n"
        write_whole(folder / f"{name}.yaml", (head + one.policy).encode())
        lines = difflib.unified_diff(today.splitlines(True), one.policy.splitlines(True), "today", name)
        write_whole(folder / f"{name}.diff", "".join(lines).encode())
    write_whole(folder / "choices.json", json.dumps({"draws": len(tried), **figures}, indent=1).encode())
    write_whole(folder / "pareto.png", front_picture(tried, now, chosen))
    return figures


def front_picture(tried: Sequence[Tried], now: Outcome, chosen: dict[str, Tried]) -> bytes:
    """Return the Pareto front as PNG: time that the gate was open in incidents against false trips, by what was missed."""
    with matplotlib.rc_context({"font.size": 9}):
        figure = Figure(figsize=(8, 5), dpi=120, layout="constrained")
        axis = figure.subplots()
        front = pareto(tried) or [choose(tried, CHOICES[0])]
        axis.scatter(*_places([one.outcome for one in tried if not one.outcome.unusable]), s=8, color="#c8c8c8")
        missed = [one.outcome.missed for one in front]
        same = "" if len(set(missed)) > 1 else f"; {missed[0]} of {len(now.incidents)} missed"
        shown = axis.scatter(
            *_places([one.outcome for one in front]), c=missed, cmap="viridis_r", s=46, edgecolor="#333", zorder=3
        )
        if len(set(missed)) > 1:
            figure.colorbar(shown, ax=axis, label=f"missed of {len(now.incidents)}", ticks=sorted(set(missed)))
        axis.scatter(*_places([now]), marker="X", s=90, color="#c0392b", zorder=4)
        marks = {(now.false_trips, now.open_s): ["today"]}
        for name, one in chosen.items():
            marks.setdefault((one.outcome.false_trips, one.outcome.open_s), []).append(name)
        for place, names in marks.items():
            axis.annotate(", ".join(names), place, xytext=(7, 6), textcoords="offset points", fontweight="bold", zorder=5)
        axis.set_xscale("symlog", linthresh=5)
        axis.xaxis.set_major_formatter(ScalarFormatter())
        axis.set_xticks([0, 1, 2, 5, 10, 20, 50, 100])
        axis.set_xlim(-0.4, max(5, *(one.outcome.false_trips for one in front), now.false_trips) * 1.2)
        axis.set_ylim(bottom=0)
        axis.set_xlabel("false trips in the time that was watched")
        axis.set_ylabel("mean time with the gate open in an incident, s")
        axis.set_title(
            f"{len(tried)} policies; coloured: nothing else is better in everything (in-sample){same}", loc="left", fontsize=10
        )
        axis.grid(color="#e4e4e4", linewidth=0.5)
        axis.spines[["top", "right"]].set_visible(False)
        out = io.BytesIO()
        FigureCanvasAgg(figure).print_png(out, metadata={"Software": None})  # type: ignore[no-untyped-call]
    return out.getvalue()


def _places(outcomes: Sequence[Outcome]) -> tuple[list[int], list[float]]:
    return [one.false_trips for one in outcomes], [one.open_s for one in outcomes]
