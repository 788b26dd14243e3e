"""One recording that many tests read and none changes."""

from __future__ import annotations

import pytest
from replay import made

from failshut_replay.recording.reader import Recording


@pytest.fixture(scope="session")
def incident(tmp_path_factory: pytest.TempPathFactory) -> Recording:
    """A series that drifts, under a policy that notices."""
    return made.recording(tmp_path_factory.mktemp("incident") / "incident.parquet")


@pytest.fixture
def signed_often(monkeypatch: pytest.MonkeyPatch) -> None:
    """Permits are signed again twice a second, and not every few minutes: short recordings hold as many decisions."""
    monkeypatch.setattr("failshut_breakers.gate.step.RESIGNED_MS", 600)
