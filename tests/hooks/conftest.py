"""A gate that the test opens and closes, and what a hook let through."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from failshut.testing import GateControl, rehearsal


@pytest.fixture
def control() -> Iterator[GateControl]:
    """The gate payments.refund, closed until the test opens it."""
    with rehearsal() as stage:
        yield stage.gate("payments.refund")


@pytest.fixture
def executed() -> list[str]:
    """What the guarded code did."""
    return []


def broken(given: object) -> str:
    """A `subject` that fails."""
    raise KeyError("no subject")
