"""The catalogue of mutants stays true to the code; `make mutants` runs it."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest
from mutants import run

CATALOGUE = run.read_catalogue()

#: What decides whether a gate opens: each has at least one mutant.
DECIDES = {
    "breakers/failshut_breakers/agreement.py",
    "breakers/failshut_breakers/decisions/permits.py",
    "breakers/failshut_breakers/decisions/probe_tokens.py",
    "breakers/failshut_breakers/evidence/boundaries.py",
    "breakers/failshut_breakers/evidence/coverage.py",
    "breakers/failshut_breakers/gate/orders.py",
    "breakers/failshut_breakers/gate/state.py",
    "breakers/failshut_breakers/gate/step.py",
    "breakers/failshut_breakers/governor.py",
    "breakers/failshut_breakers/policy/authority.py",
    "breakers/failshut_breakers/policy/policy.py",
    "breakers/failshut_breakers/store/write.lua",
    "breakers/failshut_breakers/taken_ids.py",
    "guard/failshut/admission/checks.py",
    "guard/failshut/background/key_source.py",
    "guard/failshut/background/slots.py",
    "guard/failshut/execution.py",
    "guard/failshut/gate.py",
    "guard/failshut/guard.py",
    "guard/failshut/lease.py",
    "guard/failshut/permit.py",
    "guard/failshut/signing.py",
    "streams/failshut_streams/control/operators.py",
    "streams/failshut_streams/governor/effects.py",
    "streams/failshut_streams/governor/snapshots.py",
}


@pytest.mark.parametrize("mutant", CATALOGUE, ids=lambda mutant: mutant.id)
def test_a_mutants_text_stands_in_its_file_once(mutant: run.Mutant) -> None:
    """The line that a mutant replaces occurs once, the mutant is Python, and its tests exist."""
    assert mutant.faults() == []


def test_whatever_decides_has_a_mutant() -> None:
    """No file that decides is left out of the catalogue."""
    assert DECIDES - {mutant.file for mutant in CATALOGUE} == set()


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"old": "no such text"}, "occurs 0 times"),
        ({"old": "self"}, "times in"),
        ({"new": "if"}, "no Python"),
        ({"new": CATALOGUE[0].old}, "changes nothing"),
        ({"file": "guard/failshut/none.py"}, "there is no"),
        ({"tests": ("tests/none.py",)}, "there is no tests/none.py"),
        ({"tests": (f"{CATALOGUE[0].tests[0].partition('::')[0]}::test_none",)}, "has no"),
    ],
)
def test_a_catalogue_that_has_rotted_says_where(change: dict[str, object], said: str) -> None:
    """A text that went, a test that was renamed and a mutant that is none are each named with the mutant's id."""
    mutant = CATALOGUE[0]
    assert [fault for fault in replace(mutant, **change).faults() if said in fault and mutant.id in fault]  # type: ignore[arg-type]


ENTRY = '[[mutant]]\nid = "a"\nfile = "f"\nold = "o"\nnew = "n"\ntests = ["t"]\n'


@pytest.mark.parametrize(
    "text",
    [
        ENTRY * 2,
        ENTRY.replace('old = "o"\n', ""),
        ENTRY + 'why = "x"\n',
        ENTRY + 'survives = ""\n',
        ENTRY.replace('["t"]', "[]"),
    ],
)
def test_a_catalogue_of_another_form_is_refused(text: str, tmp_path: Path) -> None:
    """Two of one id, a field that lacks or is unknown, no test, and a survivor without a reason are refused."""
    path = tmp_path / "catalogue.toml"
    path.write_text(text)
    with pytest.raises(run.BadCatalogue):
        run.read_catalogue(path)


@pytest.mark.parametrize(
    ("status", "survives", "became", "expected"),
    [
        (1, "", "killed", True),
        (0, "", "survived", False),
        (0, "a reason", "survived", True),
        (1, "a reason", "killed", False),
        (2, "", "error", False),
        (4, "", "error", False),
        (5, "", "error", False),
        (None, "", "error", False),
    ],
)
def test_only_a_failed_test_kills(
    status: int | None, survives: str, became: str, expected: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A missing test, a file that cannot be collected and a run without end kill nothing; a survivor must survive."""
    mutant = replace(CATALOGUE[0], survives=survives)
    before = (run.ROOT / mutant.file).read_text(encoding="utf-8")
    seen: list[str] = []

    def judged(tests: object, first: Path) -> tuple[int | None, str]:
        seen.append((first / Path(mutant.file).relative_to(mutant.package.parent)).read_text(encoding="utf-8"))
        return status, ""

    monkeypatch.setattr(run, "run_pytest", judged)
    verdict = run.try_mutant(mutant)
    assert (verdict.became, verdict.expected) == (became, expected)
    assert seen == [before.replace(mutant.old, mutant.new)]
    assert (run.ROOT / mutant.file).read_text(encoding="utf-8") == before
