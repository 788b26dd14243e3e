"""The protocol's models: as it stands every claim holds, and each mechanism that is switched off is missed."""

from __future__ import annotations

import importlib.util
import json
import re
import sys
from pathlib import Path
from types import ModuleType

import pytest

FOLDER = Path(__file__).resolve().parents[2] / "docs" / "model"


def _load() -> ModuleType:
    spec = importlib.util.spec_from_file_location("failshut_model_run", FOLDER / "run.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = module
    spec.loader.exec_module(module)
    return module


run = _load()
QUICK = run.chosen(quick=True)
needs_spin = pytest.mark.skipif(
    bool(run.missing_tool()), reason=f"{run.missing_tool()} is not installed: models are not checked"
)


@pytest.mark.slow
@needs_spin
@pytest.mark.parametrize("case", QUICK, ids=[f"{case.model}: {case.name}" for case in QUICK])
def test_a_model_says_what_is_expected(case: object) -> None:
    """What stands holds in every order of events; what is switched off gives a counterexample."""
    outcome = run.check(case)
    assert outcome.as_expected, outcome


@needs_spin
def test_a_model_that_does_not_compile_is_no_pass(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A model that SPIN does not read raises, and is never taken for one that holds."""
    (tmp_path / "torn.pml").write_text("active proctype P() { assert(")
    monkeypatch.setattr(run, "HERE", tmp_path)
    with pytest.raises(run.NotChecked):
        run.check(run.Case("torn"))


@pytest.mark.slow
@needs_spin
def test_a_search_that_was_cut_short_is_no_pass(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A model that reaches the limit of depth has not been searched, whatever was found until then."""
    (tmp_path / "deep.pml").write_text("int n = 0; active proctype P() { do :: n < 9000 -> n++ :: else -> break od }")
    monkeypatch.setattr(run, "HERE", tmp_path)
    assert run.check(run.Case("deep")).seen == run.HOLDS
    monkeypatch.setattr(run, "DEPTH_MAX", 100)
    assert not run.check(run.Case("deep")).as_expected


@pytest.mark.slow
@needs_spin
def test_a_difference_fails_the_run(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """The exit status is 1 if one case is not as expected, and the table and the JSON name it."""
    (tmp_path / "wrong.pml").write_text("active proctype P() { assert(false) }")
    monkeypatch.setattr(run, "HERE", tmp_path)
    monkeypatch.setattr(run, "CASES", (run.Case("wrong"),))
    assert run.main(["--json"]) == 1
    said = json.loads(capsys.readouterr().out)
    assert (said["wrong"], said["outcomes"][0]["seen"]) == (1, run.COUNTEREXAMPLE)
    assert run.main([]) == 1
    assert "<- not as expected" in capsys.readouterr().out


@pytest.mark.parametrize("as_json", [False, True])
def test_without_spin_the_run_says_that_it_is_skipped(
    as_json: bool, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """Where SPIN is not installed nothing is checked, and the output says so."""
    monkeypatch.setattr(run.shutil, "which", lambda tool: None)
    assert run.main(["--json"] if as_json else []) == 0
    assert "skipped: spin is not installed" in capsys.readouterr().out


def test_every_switch_of_a_model_is_a_case() -> None:
    """No mechanism can be switched off in a model without a case that says what comes of it."""
    for model in FOLDER.glob("*.pml"):
        switches = set(re.findall(r"OFF_([A-Z_]+)", model.read_text()))
        checked = {switch for case in run.CASES if case.model == model.stem for switch in case.off}
        assert switches == checked, model.name
