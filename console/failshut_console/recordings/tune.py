"""Carries out `failshut tune`: the search, told as it goes on."""

from __future__ import annotations

import json
import sys
from pathlib import Path

import typer

from failshut_breakers.policy.units import parse_duration_ms
from failshut_console.exits import Trouble
from failshut_console.recordings.shared import plain_errors, texts
from failshut_replay.errors import ReplayError
from failshut_replay.replay.what_if import Assumed
from failshut_replay.tune.choices import write_choices
from failshut_replay.tune.objective import Objective, suited, tested_kinds, usual_values
from failshut_replay.tune.search import CHOICES, Tried, choose
from failshut_replay.tune.search import tune as tune_policy
from failshut_replay.tune.space import Space


def tune(
    folder: Path,
    policy: Path,
    output: Path,
    budget: str,
    draws: int,
    workers: int,
    settle: str,
    assumed: Assumed,
    as_json: bool,
) -> None:
    """Tune a policy against the labelled recordings of a folder."""
    try:
        budget_s = parse_duration_ms(budget) / 1000
        settle_ms = 0 if settle in ("", "0s") else parse_duration_ms(settle)
    except ValueError as error:
        raise Trouble(f"--budget or --settle: {error}", "nothing was tuned", "write it as 90s, 20m or 2h") from error
    (text,) = texts([policy]).values()
    paths = sorted(folder.glob("*.parquet")) if folder.is_dir() else [folder]
    with plain_errors():
        unscaled = Space(text, {})
        found = suited(paths, unscaled.policy)
        judge = Objective(unscaled.policy.gate, tuple(found), assumed, settle_ms)
        space = Space(text, usual_values(found), tested_kinds(judge, text))
        now = judge(text)
        today = f"today {now.missed} missed, {now.false_trips} false trips"
        _say(f"{len(found)} recordings, {len(now.incidents)} incidents of {judge.gate}; {today}")
        tried = tune_policy(space, judge, output, budget_s, workers=workers, draws=draws, watch=_watch)
        if not tried:
            raise ReplayError("no policy was judged in this time: give it a larger --budget; what was begun is kept")
        figures = write_choices(tried, space.text(), now, output)
    if as_json:
        typer.echo(json.dumps({"draws": len(tried), **figures}, indent=1))
        return
    typer.echo(f"{len(tried)} policies were judged; {output} holds the journal, the choices, their diffs and pareto.png")
    if len(now.incidents) < 3:
        typer.echo("note: held-out figures over fewer than three incidents say next to nothing")
    for name in CHOICES:
        typer.echo(f"\n{name}: {output / name}.yaml")
        for kind in ("in_sample", "held_out"):
            one = figures[name][kind]
            assert isinstance(one, dict)  # noqa: S101 - written above
            typer.echo(
                f"  {kind.replace('_', '-'):<10} {one['missed']} of {one['incidents']} missed, "
                f"{one['mean_open_s']:.0f} s open on average, {one['false_trips']} false trips"
            )


def _say(text: str) -> None:
    sys.stderr.write(text + "\n")
    sys.stderr.flush()


def _watch(tried: list[Tried], left_s: float) -> None:
    if not tried or not sys.stderr.isatty():
        return
    best = choose(tried, "balanced").outcome
    told = f"{best.missed} of {len(best.incidents)} missed, {best.false_trips} false trips"
    sys.stderr.write(f"\r\x1b[K{len(tried)} policies, {left_s:.0f} s left; balanced so far: {told}")
    sys.stderr.flush()
    if left_s <= 0:
        sys.stderr.write("\n")
