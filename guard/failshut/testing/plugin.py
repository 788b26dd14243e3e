"""Fixtures for pytest, which finds them by itself where Failshut is installed (entry point `pytest11`).

Importing this starts nothing and replaces nothing. A rehearsal begins with a test that asks for one of the fixtures, and ends
with that test. A test that begins an assertion and does not await it fails at its end.
"""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from failshut.testing.rehearsal import MakeGate, Rehearsal, rehearsal


@pytest.fixture
def failshut_rehearsal() -> Iterator[Rehearsal]:
    """Begin a rehearsal: gates of the process ask a guard whose monitor, store and time are in the test's hands."""
    with rehearsal() as stage:
        yield stage


@pytest.fixture
def failshut_gate(failshut_rehearsal: Rehearsal) -> MakeGate:
    """Return what makes a gate that the test opens and closes: `failshut_gate("payments.refund").open()`."""
    return failshut_rehearsal.gate
