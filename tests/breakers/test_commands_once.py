"""A governor counts a command once, near the time of its signing, and of its own installation alone."""

from __future__ import annotations

import pickle

from log import World, command, policy

from failshut_breakers.decisions.decision import Kind
from failshut_breakers.taken_ids import VALID_MS


def epoch(world: World) -> int:
    return world.gate().epoch


def test_a_lock_that_is_sent_twice_locks_once() -> None:
    """Whoever copies a signed lock cannot close the gate again after its reset, nor after the governor's restart."""
    world = World(policy("heartbeat: {source: a, grace: 3s}", reset="{probes: 0}"))
    world.marks(1_000, beat="a")
    lock = command("lock", id="one-lock", signed_ms=world.now_ms)
    world.control(lock)
    assert world.last().breaker == "LOCKED"
    world.marks(1_000, beat="a")
    world.command("reset", epoch=epoch(world))
    world.marks(1_000, beat="a")
    assert world.is_open()
    world.governors = [pickle.loads(pickle.dumps(governor)) for governor in world.governors]  # as a snapshot does
    for governor in world.governors:
        governor.owns = lambda gate: True
    (note,) = [one for one in world.control(lock) if one.kind is Kind.NOTE]
    assert "counts once" in note.because
    world.marks(1_000, beat="a")
    assert world.is_open()


def test_an_old_command_that_is_brought_out_again_is_refused() -> None:
    """Its id need not be remembered: it says itself when it was signed."""
    world = World(policy("heartbeat: {source: a, grace: 3s}"))
    world.marks(1_000, beat="a")
    (note,) = world.command("lock", signed_ms=world.now_ms - VALID_MS - 1_000)
    assert (note.kind, "sign it anew" in note.because) == (Kind.NOTE, True)
    world.marks(1_000, beat="a")
    assert world.is_open()


def test_a_command_of_another_installation_moves_no_gate() -> None:
    """Governors do not rely on routers for that: evidence with one in it is noted, and nothing more."""
    world = World(policy("heartbeat: {source: a, grace: 3s}"))
    world.marks(1_000, beat="a")
    (note,) = world.command("lock", installation="anotherinstallation")
    assert (note.kind, "another installation" in note.because) == (Kind.NOTE, True)
    world.marks(1_000, beat="a")
    assert world.is_open()


def test_what_a_refused_command_named_cannot_be_named_again() -> None:
    """A refusal is an answer: the same command does not count later, when it would be granted."""
    world = World(policy("heartbeat: {source: a, grace: 3s}", reset="{probes: 0}"))
    world.marks(1_000, beat="a")
    world.command("lock")
    early = command("reset", id="early", signed_ms=world.now_ms, epoch=epoch(world))
    assert any("no evidence from after" in one.because for one in world.control(early))
    world.marks(1_000, beat="a")
    assert any("counts once" in one.because for one in world.control(early))
    assert not world.is_open()
