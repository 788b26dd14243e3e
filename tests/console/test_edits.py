"""What an edit of policies costs is said before it is made, and a gate in force is closed by nobody who did not mean it."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from console.console_support import GOOD, Failshut

from failshut_breakers.policy.policy import read_bundle
from failshut_console.edits import GateEdit, What, edits
from failshut_console.monitor.observed_series import Observed
from failshut_servers import Kafka

DRIFT = "  - drift: {series: refund-agent/amount_eur, detector: adwin}\n"
ODD = "  - anomaly: {series: refund-agent/amount_eur, name: odd}\n"
ALL = Observed(series={"refund-agent/amount_eur": [0, 2_000, 4_000]}, sources={"refund-agent": [0, 500]})


def edited(text: str, before: str = GOOD, observed: Observed | None = ALL) -> GateEdit:
    """Return what becomes of the gate."""
    (found,) = edits(read_bundle(1, {"refund.yaml": before}, {}).entries, {"refund.yaml": text}, observed)
    return found


@pytest.mark.parametrize(
    "text", ["# why\n" + GOOD, GOOD.replace("2s", "2000ms"), GOOD.replace(DRIFT, DRIFT.strip("\n") + "  # x\n")]
)
def test_the_same_in_other_words_costs_nothing(text: str) -> None:
    """It is said to change nothing, and nobody is asked."""
    found = edited(text)
    assert (found.what, found.closed_ms, found.closes) == (What.SAME, 0, False)


def test_a_setting_of_the_whole_closes_nothing() -> None:
    """A new epoch, and each condition keeps what it knows."""
    found = edited(GOOD.replace("ttl: 2s", "ttl: 3s"))
    assert (found.what, found.closed_ms, found.closes) == (What.EDITED, 0, False)
    assert {one.what for one in found.conditions} == {What.SAME}
    assert "not closed by that" in found.words


def test_a_new_condition_is_named_with_what_it_must_read() -> None:
    """The others are said to stay; how long it takes follows from the pace."""
    found = edited(GOOD.replace(DRIFT, DRIFT + ODD))
    new = next(one for one in found.conditions if one.name == "odd")
    assert new.what is What.NEW
    assert new.readings > 1
    assert new.closed_ms == 2_000 * new.readings == found.closed_ms
    assert found.closes
    assert "refund-agent/amount_eur" in new.words
    assert "seconds where Kafka holds as many" in new.words
    assert [one.what for one in found.conditions if one is not new] == [What.SAME, What.SAME]


def test_without_a_pace_nobody_knows_for_how_long() -> None:
    """The number of readings is said all the same."""
    found = edited(GOOD.replace(DRIFT, DRIFT + ODD), observed=None)
    assert found.closed_ms is None
    assert found.closes
    assert "nobody knows" in next(one for one in found.conditions if one.name == "odd").words


def test_an_edited_condition_goes_on_with_what_it_remembers() -> None:
    """The readings that it remembers are fed again: other settings need nothing new."""
    found = edited(GOOD.replace("adwin", "adwin, delta: 0.01"))
    drift = next(one for one in found.conditions if one.name.startswith("drift"))
    assert (drift.what, drift.readings, found.closes) == (What.EDITED, 0, False)


def test_another_series_is_learnt_from_nothing() -> None:
    """A name that is kept is no memory of what it never read."""
    found = edited(GOOD.replace("series: refund-agent/amount_eur", "name: 'drift:refund-agent/amount_eur', series: b/x"))
    drift = next(one for one in found.conditions if one.name.startswith("drift"))
    assert drift.what is What.EDITED
    assert drift.readings > 0


def test_what_goes_and_what_is_bad_closes() -> None:
    """Both are said with their reason."""
    before = read_bundle(1, {"refund.yaml": GOOD}, {}).entries
    (gone,) = edits(before, {})
    assert (gone.what, gone.closes, gone.closed_ms) == (What.GONE, True, None)
    bad = edited(GOOD.replace("adwin", "magic"))
    assert (bad.what, bad.closes) == (What.BAD, True)
    assert "magic" in bad.words


@pytest.mark.parametrize("mode", ["shadow", "warn"])
def test_a_gate_that_stops_withholding_is_asked_about(mode: str) -> None:
    """It closes nothing, and lets through what it withheld: nobody does that by the way. One that was in shadow is no news."""
    shadowed = GOOD + f"mode: {mode}\n"
    found = edited(shadowed)
    assert (found.loosened, found.needs_consent, found.closes) == (True, True, False)
    assert "withholds nothing" in found.words
    again = edited(shadowed.replace("ttl: 2s", "ttl: 3s"), before=shadowed)
    assert (again.loosened, again.needs_consent) == (False, False)
    assert edited(GOOD, before=shadowed).needs_consent is False


def test_a_new_gate_closes_none_that_is_open() -> None:
    """It has to learn, and nobody is asked about that."""
    found = edits({}, {"refund.yaml": GOOD}, ALL)[0]
    assert (found.what, found.closes) == (What.NEW, False)
    assert found.closed_ms


def test_an_activation_that_closes_a_gate_asks_first(failshut: Failshut, kafka: Kafka, suffix: str) -> None:
    """On a real broker: the first is not asked about, a comment neither; a new condition is, and `--yes` is an answer."""
    at = ("--broker", kafka.url, "--prefix", f"edits-{suffix}.")
    assert failshut("keys", "create").status == 0
    assert failshut("term", "open", *at, "--partitions", 2).status == 0
    folder = Path("policies")
    folder.mkdir()
    policy = folder / "refund.yaml"
    policy.write_text(GOOD)
    first = failshut("policy", "activate", folder, *at)
    assert first.status == 0, first.err
    assert "payments.refund: new" in first.out

    policy.write_text("# why\n" + GOOD)
    same = failshut("policy", "diff", folder, *at)
    assert (same.status, same.out) == (0, "payments.refund: unchanged: its epoch, its permit and what it has learnt stay\n")

    policy.write_text(GOOD.replace(DRIFT, DRIFT + ODD))
    said = json.loads(failshut("policy", "diff", folder, *at, "--json").out)
    assert [(one["gate"], one["what"], one["closes"]) for one in said] == [("payments.refund", "edited", True)]
    refused = failshut("policy", "activate", folder, *at)
    assert refused.status == 1
    assert "of the gates in force this would close payments.refund" in refused.err
    assert "nothing was activated" in refused.err
    assert failshut("policy", "activate", folder, *at, "--yes").status == 0
    policy.write_text(policy.read_text() + "mode: shadow\n")
    loosened = failshut("policy", "activate", folder, *at)
    assert (loosened.status, "let stop withholding payments.refund" in loosened.err) == (1, True), loosened
    assert failshut("policy", "activate", folder, *at, "--yes").status == 0
    assert "unchanged" in failshut("policy", "diff", folder, *at).out
