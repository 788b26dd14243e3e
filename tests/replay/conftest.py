"""One recording that many tests read and none changes."""

from __future__ import annotations

import pytest
from replay import made

from failshut_replay.recording.reader import Recording


@pytest.fixture(scope="session")
def incident(tmp_path_factory: pytest.TempPathFactory) -> Recording:
    """A series that drifts, under a policy that notices."""
    return made.recording(tmp_path_factory.mktemp("incident") / "incident.parquet")
