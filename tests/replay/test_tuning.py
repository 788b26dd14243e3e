"""Tuning: what is drawn, what is chosen, what is held out, and what an interruption leaves."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import optuna
import pytest
from replay import made
from replay.toy import RULE, SPACE, WEEK_MS, Toy, outcome

from failshut_breakers.policy.policy import Anomaly, Conformance, Drift, Policy, parse_policy
from failshut_detectors.registry import build, names
from failshut_replay.errors import ReplayError
from failshut_replay.recording.reader import Recording
from failshut_replay.replay.what_if import Assumed
from failshut_replay.sources.front_door import Event
from failshut_replay.story.labels import beside
from failshut_replay.times import iso
from failshut_replay.tune.bounds import DRAWN
from failshut_replay.tune.choices import write_choices
from failshut_replay.tune.objective import Objective, suited, usual_values
from failshut_replay.tune.search import Tried, choose, held_out, pareto, tried, tune
from failshut_replay.tune.space import Space, Usual


@pytest.mark.slow
def test_every_draw_is_a_policy_that_can_be_used() -> None:
    """Within the bounds of the policy's own checks, and with nothing changed that people decide."""
    study = optuna.create_study(sampler=optuna.samplers.RandomSampler(seed=1))
    seen: dict[type, set[str]] = {}
    for _ in range(120):
        policy = parse_policy(SPACE.draw(study.ask()))
        assert (policy.gate, policy.permit.ttl, policy.reset) == (SPACE.policy.gate, 3_000, SPACE.policy.reset)
        for condition in policy.conditions:
            assert isinstance(condition, Drift | Anomaly | Conformance)
            seen.setdefault(type(condition), set()).add(condition.detector.choices[0].name)
    assert seen[Drift] >= {"adwin", "cusum", "ewma", "false_trip_budget", "page_hinkley"}
    assert seen[Anomaly] >= {"seasonal_record"}
    assert seen[Conformance] >= {"ddm", "eddm", "fhddm", "hddm_a", "hddm_w"}


def drawn(*conditions: str, draws: int = 60) -> list[Policy]:
    """Policies that are drawn around one with these conditions."""
    study = optuna.create_study(sampler=optuna.samplers.RandomSampler(seed=2))
    space = Space(made.policy(*conditions), {made.SERIES: Usual(48.0, 2.0)})
    return [parse_policy(space.draw(study.ask())) for _ in range(draws)]


def test_what_people_promised_each_other_is_not_drawn() -> None:
    """A budget of false trips and a vote stay as they are."""
    for promised in ("false_trips: 1 per 30d", "detector: [adwin, cusum], votes: 2, within: 100"):
        found = drawn(f"drift: {{series: {made.SERIES}, {promised}}}")
        assert {policy.conditions for policy in found} == {found[0].conditions}
        assert isinstance(found[0].conditions[0], Drift)


@pytest.mark.slow
def test_two_conditions_on_one_series_keep_their_kinds() -> None:
    """One detector never takes the place, and the name, of the other's condition."""
    for policy in drawn(f"drift: {{series: {made.SERIES}, detector: adwin}}", f"anomaly: {{series: {made.SERIES}}}"):
        assert [type(condition) for condition in policy.conditions] == [Drift, Anomaly]


def test_several_series_are_judged_together_whatever_is_drawn() -> None:
    """Only detectors on vectors stand in place of one another there."""
    found = drawn("anomaly: {series: [a/x, a/y], every: 10s}", draws=20)
    names = {one.detector.choices[0].name for policy in found for one in policy.conditions if isinstance(one, Drift | Anomaly)}
    assert names == {"mahalanobis", "mewma"}


def test_a_slow_detector_is_drawn_where_a_policy_names_it_alone() -> None:
    """It stays with the parameters that it has there, beside all others."""
    for asked, there in (("adwin", False), ("kswin, window: 60", True)):
        found = drawn(f"drift: {{series: {made.SERIES}, detector: {asked}}}")
        named = [one.detector.choices[0] for policy in found for one in policy.conditions if isinstance(one, Drift)]
        assert any(one.name == "kswin" for one in named) is there
        assert all(dict(one.given)["window"] == 60 for one in named if one.name == "kswin")


def test_every_bound_can_be_built() -> None:
    """Both ends of every parameter are ones that the detector takes."""
    for name, bounds in DRAWN.items():
        if name not in names():
            continue
        for share in (0.0, 0.5, 1.0):
            build(name, {parameter: one.at(share) for parameter, one in bounds.items()}, width=2)


def test_a_policy_is_laid_out_the_same_each_time() -> None:
    """So that a diff shows what changed and nothing else; and it means what it did."""
    assert parse_policy(SPACE.text()) == parse_policy(RULE)
    assert Space(SPACE.text(), {}).text() == SPACE.text()


def test_spread_is_robust_and_never_nothing() -> None:
    """An outlier does not change it; where most values are the same it is that of the tail."""
    assert Usual.of([*range(100), 10**9]).spread == pytest.approx(1.4826 * 25, rel=0.05)
    assert Usual.of([100.0] * 95 + [98.0] * 5).spread == 2.0
    assert Usual.of([7.0] * 50).spread == 1.0


def test_the_rules_choose_what_they_say() -> None:
    """Cautious misses least, balanced counts a miss like a false trip, quick is open for the shortest time."""
    few_false = Tried(0, "a", outcome([30.0, None], 0))
    all_noticed = Tried(1, "b", outcome([30.0, 30.0], 2))
    fastest = Tried(2, "c", outcome([1.0, None], 1))
    draws = [few_false, all_noticed, fastest]
    assert choose(draws, "cautious") is all_noticed
    assert choose(draws, "balanced") is few_false
    assert choose(draws, "quick") is all_noticed  # a missed incident is open from beginning to end
    assert choose([few_false, fastest], "quick") is fastest


def test_a_gate_that_is_mostly_closed_is_never_chosen() -> None:
    """However much it notices: closed for more than a tenth of the normal time is not in question where anything else is."""
    shut = Tried(0, "a", replace(outcome([0.0, 0.0], 0), closed_ms=WEEK_MS // 5))
    poor = Tried(1, "b", outcome([None, None], 2))
    assert [choose([shut, poor], rule) for rule in ("cautious", "balanced", "quick")] == [poor] * 3


def test_a_held_out_incident_has_no_say_in_the_choice() -> None:
    """A draw that is only better by the incident in question does not count for it."""
    lucky = Tried(0, "a", outcome([1.0, None], 0))  # notices the first incident alone
    other = Tried(1, "b", outcome([None, 1.0], 0))  # notices the second alone
    found = held_out([lucky, other], "balanced")
    assert choose([lucky, other], "balanced").outcome.missed == 1
    assert found.missed == 2  # without the first, `other` is chosen, which misses the first; and the other way round


def test_the_front_holds_what_nothing_beats() -> None:
    """A draw that another equals or beats in everything is not on it."""
    drawn: list[tuple[list[float | None], int]] = [([1.0], 3), ([9.0], 0), ([9.0], 3)]
    draws = [Tried(number, "", outcome(delays, false)) for number, (delays, false) in enumerate(drawn)]
    assert [one.number for one in pareto(draws)] == [0, 1]


@pytest.mark.slow
def test_it_goes_on_where_it_was(tmp_path: Path) -> None:
    """A second call on the same folder adds to the draws of the first, and another policy is refused."""
    first = tune(SPACE, Toy(), tmp_path, 60, workers=1, draws=4)
    both = tune(SPACE, Toy(), tmp_path, 60, workers=2, draws=9)
    assert both[:4] == first
    assert len(both) >= 9
    assert not {one.policy for one in both[4:]} <= {one.policy for one in first}
    with pytest.raises(ReplayError, match="another policy"):
        tune(Space(made.DRIFT, {}), Toy(), tmp_path, 5, workers=1)


def test_the_choices_are_files_that_are_ready(tmp_path: Path) -> None:
    """Three policies that can be used, a diff of each, figures, and a picture."""
    study = optuna.create_study(sampler=optuna.samplers.RandomSampler(seed=1))
    texts = [SPACE.draw(study.ask()) for _ in range(8)]
    draws = [Tried(number, text, Toy()(text)) for number, text in enumerate(texts)]
    figures = write_choices(draws, SPACE.text(), Toy()(RULE), tmp_path)
    for name in ("cautious", "balanced", "quick"):
        parse_policy((tmp_path / f"{name}.yaml").read_text())
        assert "Held-out" in (tmp_path / f"{name}.yaml").read_text()
        assert (tmp_path / f"{name}.diff").read_text().startswith("--- today")
        assert {"in_sample", "held_out"} <= set(figures[name])
    assert json.loads((tmp_path / "choices.json").read_text())["draws"] == len(draws)
    assert (tmp_path / "pareto.png").read_bytes().startswith(b"\x89PNG")


@pytest.mark.slow
def test_interrupted_it_keeps_what_it_learned(tmp_path: Path) -> None:
    """Ctrl-C in the middle of tuning: every finished draw is in the journal, and the choices are made from them."""
    script = (
        "import signal, sys; from pathlib import Path; sys.path.insert(0, sys.argv[2])\n"
        "from replay.toy import *; from failshut_replay.tune.search import tune\n"
        "if __name__ == '__main__':\n"
        # A shell without job control starts what is behind it deaf to Ctrl-C, and children inherit that.
        "    signal.signal(signal.SIGINT, signal.default_int_handler)\n"
        "    told = lambda found, left: print(len(found), flush=True)\n"
        "    draws = tune(SPACE, Toy(0.05), Path(sys.argv[1]), 600, workers=1, watch=told)\n"
        "    from failshut_replay.tune.choices import write_choices\n"
        "    write_choices(draws, SPACE.text(), Toy()(RULE), Path(sys.argv[1]))\n"
        "    print('kept', len(draws), flush=True)\n"
    )
    (tmp_path / "run.py").write_text(script)
    arguments = [sys.executable, str(tmp_path / "run.py"), str(tmp_path / "out"), str(Path(__file__).parents[1])]
    with subprocess.Popen(arguments, stdout=subprocess.PIPE, text=True, env={**os.environ}) as process:
        assert process.stdout is not None
        lines = iter(process.stdout.readline, "")
        assert any(line.strip().isdigit() and int(line) >= 3 for line in lines)
        process.send_signal(signal.SIGINT)
        rest = process.stdout.read()
    assert "kept" in rest
    kept = int(rest.rpartition("kept ")[2])
    assert len(tried(tmp_path / "out")) == kept >= 3
    assert (tmp_path / "out" / "balanced.yaml").is_file()


def labelled(folder: Path) -> Recording:
    """A recording with its incident labelled."""
    recording = made.recording(folder / "one.parquet")
    start, end = iso(made.START_MS + 40_000), iso(made.START_MS + 75_000)
    beside(recording.path).write_text(f"incidents:\n  - gate: pay\n    start: {start}\n    end: {end}\n    note: doubled\n")
    return recording


def test_a_policy_is_judged_by_a_replay(tmp_path: Path) -> None:
    """One that notices and one that is deaf come to what they are; what is usual is read from the recordings."""
    recording = labelled(tmp_path)
    paths = suited([recording.path], parse_policy(made.DRIFT))
    judge = Objective("pay", tuple(paths), Assumed())
    assert judge(made.DRIFT).missed == 0
    assert judge(made.DEAF).missed == 1
    assert usual_values(paths)[made.SERIES].value == pytest.approx(50, abs=48)


def test_nothing_to_tune_against_is_said(tmp_path: Path) -> None:
    """Recordings without labels, or without the gate, are no ground to choose on."""

    def few() -> Iterator[Event]:
        yield from made.values(30)

    recording = made.recording(tmp_path / "one.parquet", few())
    with pytest.raises(ReplayError, match="no recording here has a labelled incident of gate pay"):
        suited([recording.path], parse_policy(made.DRIFT))


def test_what_no_incident_tested_is_not_loosened() -> None:
    """A heartbeat's grace grows where an incident of silence was there, and never where none was."""

    class Largest:
        """Draws the loosest of everything."""

        def suggest_float(self, name: str, low: float, high: float, *, log: bool = False) -> float:
            return high

        def suggest_int(self, name: str, low: int, high: int, *, log: bool = False) -> int:
            return high

        def suggest_categorical(self, name: str, choices: list[object]) -> object:
            return choices[0]

    text = made.policy("heartbeat: {source: a, grace: 3s}", "lag: {group: g, topic: t, allowed: 10, behind: 5s}")
    loose = parse_policy(Space(text, {}, frozenset({"heartbeat"})).draw(Largest()))
    beat, lag = loose.conditions
    assert (beat.grace, lag.allowed, lag.behind) == (12_000, 10, 5_000)  # type: ignore[union-attr]
    beat, lag = parse_policy(Space(text, {}, frozenset({"drift"})).draw(Largest())).conditions
    assert (beat.grace, lag.allowed) == (3_000, 10)  # type: ignore[union-attr]


def test_a_limit_and_a_vote_that_no_incident_tested_are_not_loosened() -> None:
    """A rule's limit and share, and `trip_on: all`; what an incident has tested may be drawn either way."""

    class Loosest:
        def suggest_float(self, name: str, low: float, high: float, *, log: bool = False) -> float:
            return high

        def suggest_int(self, name: str, low: int, high: int, *, log: bool = False) -> int:
            return high

        def suggest_categorical(self, name: str, choices: list[object]) -> object:
            return choices[-1 if name == "trip_on" else 0]

    rules = 'series: s/x, rule: "value <= 50", over: 0.1', 'name: low, series: s/x, rule: "value > 40"'
    text = made.policy(*(f"conformance: {{{rule}}}" for rule in rules), "lag: {group: g, topic: t, allowed: 1, behind: 5s}")
    for tested, limits, over, trip_on in (
        ({"drift"}, ("value <= 50.0", "value > 40.0"), 0.1, "any"),
        ({"conformance"}, ("value <= 81.0", "value > 9.0"), 0.75, "any"),
        ({"conformance", "lag"}, ("value <= 81.0", "value > 9.0"), 0.75, "all"),
    ):
        drawn = parse_policy(Space(text, {"s/x": Usual(45.0, 3.0)}, frozenset(tested)).draw(Loosest()))
        high, low, _ = drawn.conditions
        assert (high.criterion.text, low.criterion.text, drawn.trip_on) == (*limits, trip_on)  # type: ignore[union-attr]
        assert high.over == pytest.approx(over)  # type: ignore[union-attr]
