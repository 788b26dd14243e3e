"""Two installations on one store, whatever else they share, are nothing to each other; and a guard of none admits nobody."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from guard.standin import SUBJECT, Monitor, admitted, denied_with, eventually, withheld

from failshut import Cause, Configuration, Gate, Guard, Withheld, verify
from failshut.config import from_environment
from failshut.permit import ForeignInstallation
from failshut.signing import KeySet, SigningKey
from failshut.store import names as store_names

MakeGuard = Callable[..., Guard]


@pytest.fixture
def other(monitor: Monitor) -> Monitor:
    """Another installation on the same store, with a gate of the same name, and with the same key."""
    second = Monitor(monitor.url, monitor.gate, monitor.key)
    second.installation = store_names.new_installation()
    return second


def test_an_installation_with_the_same_key_and_store_opens_nothing(
    monitor: Monitor, other: Monitor, gate: Gate, make_guard: MakeGuard
) -> None:
    """A permit opens the gate of its own installation alone, though key, store and name are the same."""
    other.issue(ttl_ms=60_000)
    theirs = Gate(monitor.gate, guard=make_guard(jwks=other.jwks))
    admitted(theirs)
    denial = denied_with(gate, Cause.NO_PERMIT)
    assert "no permit" in denial.because


def test_a_closing_of_another_installation_closes_nothing(
    monitor: Monitor, other: Monitor, gate: Gate, make_guard: MakeGuard
) -> None:
    """Neither its record nor its push is heard: the channel and the names carry the installation."""
    theirs = Gate(monitor.gate, guard=make_guard(jwks=other.jwks))
    other.issue(ttl_ms=60_000)
    monitor.issue(ttl_ms=60_000)
    admitted(gate)
    admitted(theirs)
    denials: list[Withheld] = []
    for _ in range(3):
        other.close()
        other.reopen(ttl_ms=60_000)
        end = time.monotonic() + 0.3
        while time.monotonic() < end:
            if (denial := withheld(gate)) is not None:
                denials.append(denial)
    assert denials == []


def test_another_installations_record_in_this_ones_place_is_foreign(monitor: Monitor, other: Monitor, gate: Gate) -> None:
    """Copied to where this installation reads, a well-signed permit of another still says nothing here."""
    permit = other.permit(ttl_ms=60_000)
    monitor.client.set(monitor.names.record(monitor.gate), permit.sign(other.key), pxat=permit.exp_ms)
    denial = denied_with(gate, Cause.FOREIGN)
    assert other.installation in denial.because
    with pytest.raises(ForeignInstallation, match="trusted is no installation"):
        verify(permit.sign(other.key), monitor.key.key_set(), monitor.gate)


def test_a_guard_of_no_installation_admits_nobody_and_says_what_to_set(monitor: Monitor, make_guard: MakeGuard) -> None:
    """There is no default: without an id in the key set or in the settings every check withholds."""
    monitor.issue(ttl_ms=60_000)
    gate = Gate(monitor.gate, guard=make_guard(jwks=monitor.key.key_set().to_dict()))
    denial = denied_with(gate, Cause.UNVERIFIED)
    assert "FAILSHUT_INSTALLATION" in denial.because


def test_the_setting_wins_over_the_document(monitor: Monitor, other: Monitor, make_guard: MakeGuard) -> None:
    """`FAILSHUT_INSTALLATION` says whose permits count, whatever the JWKS document names."""
    other.issue(ttl_ms=60_000)
    given = from_environment({"FAILSHUT_INSTALLATION": other.installation}).installation
    admitted(Gate(monitor.gate, guard=make_guard(jwks=monitor.jwks, installation=given)))
    denied_with(Gate(monitor.gate, guard=make_guard(jwks=monitor.jwks)), Cause.NO_PERMIT)


def test_a_key_file_that_begins_to_name_an_installation_is_followed(
    monitor: Monitor, make_guard: MakeGuard, tmp_path: Path
) -> None:
    """`failshut keys create` first, `failshut term open` later: the guard opens when the file names the installation."""
    path = tmp_path / "jwks.json"
    monitor.key.write_jwks(path)
    monitor.issue(ttl_ms=60_000)
    gate = Gate(monitor.gate, guard=make_guard(jwks=str(path)))
    denied_with(gate, Cause.UNVERIFIED)
    monitor.write_jwks(path)
    admitted(gate)
    monitor.key.write_jwks(path)
    denied_with(gate, Cause.UNVERIFIED)


def test_outcomes_go_to_another_store_where_one_is_named(monitor: Monitor, make_guard: MakeGuard, redis_server: Any) -> None:
    """Then what fills with outcomes is not what permits and closings are written to."""
    guard = make_guard(outcomes_store_url=redis_server.url)
    gate = Gate(monitor.gate, guard=guard)
    monitor.issue(ttl_ms=60_000)
    admitted(gate)
    with gate.execution(SUBJECT):
        pass
    there = Monitor(redis_server.url, monitor.gate, monitor.key)
    eventually(there.outcomes)
    assert monitor.outcomes() == []


def test_a_store_that_takes_no_outcomes_costs_no_lease(
    monitor: Monitor, make_guard: MakeGuard, free_port: Callable[[], int]
) -> None:
    """Outcomes have a thread and a connection of their own: reads of permits do not wait behind them."""
    guard = make_guard(outcomes_store_url=f"redis://127.0.0.1:{free_port()}/0")
    gate = Gate(monitor.gate, guard=guard)
    monitor.keep_renewing(ttl_ms=60_000)
    admitted(gate)
    with gate.execution(SUBJECT):
        pass
    first = admitted(gate)
    eventually(lambda: admitted(gate).offset > first.offset + 2)


def test_a_stream_that_takes_nothing_costs_other_gates_nothing(monitor: Monitor, make_guard: MakeGuard) -> None:
    """One gate's outcomes that the store refuses are counted as lost; another gate's are written."""
    guard = make_guard()
    second = Monitor(monitor.url, f"{monitor.gate}.second", monitor.key)
    monitor.client.set(monitor.names.outcomes(monitor.gate), "no stream")
    for each in (monitor, second):
        each.issue(ttl_ms=60_000)
        gate = Gate(each.gate, guard=guard)
        admitted(gate)
        with gate.execution(SUBJECT):
            pass
    eventually(second.outcomes)
    eventually(lambda: guard.outcomes.lost(monitor.gate) == 1)
    monitor.client.delete(monitor.names.outcomes(monitor.gate))
    with Gate(monitor.gate, guard=guard).execution(SUBJECT):
        pass
    eventually(lambda: sum(int(entry["count"]) for entry in monitor.outcomes()) == 1)
    assert sum(int(entry["lost"]) for entry in monitor.outcomes()) == 1


@pytest.mark.parametrize("name", ["", "short", "x" * 65, "a" * 15 + ":", "ä" * 20, 7, None])
def test_what_could_reach_another_name_is_no_installation(name: Any) -> None:
    """An id becomes part of every name in the store, so it has no room for their punctuation."""
    with pytest.raises(ValueError, match="not an installation's id"):
        store_names.Names(name)


def test_a_bad_installation_is_said_at_once(monitor: Monitor) -> None:
    """In the settings or in the document: a ValueError that names it, not a guard that waits for nothing."""
    with pytest.raises(ValueError, match="not an installation's id"):
        Configuration(installation="short")
    with pytest.raises(ValueError, match="failshut_installation"):
        KeySet.from_dict(monitor.key.key_set().to_dict() | {"failshut_installation": 7})


def test_a_rotation_keeps_the_installation(monitor: Monitor, tmp_path: Path) -> None:
    """Two keys in one file are still of the installation that the file named."""
    monitor.write_jwks(tmp_path / "jwks.json")
    rotated = KeySet.load(tmp_path / "jwks.json").joined(SigningKey.generate().key_set())
    rotated.write(tmp_path / "jwks.json")
    assert KeySet.load(tmp_path / "jwks.json").installation == monitor.installation


def test_no_two_installations_share_a_name() -> None:
    """Every name in the store, the channel and the workers' lines differ between two installations."""
    one, two = store_names.Names("1" * 16), store_names.Names("2" * 16)
    for names in (one, two):
        assert all(names.installation in name for name in _all(names))
    assert not {*_all(one)} & {*_all(two)}
    assert replace(Configuration(), installation="1" * 16).installation == one.installation


def _all(names: store_names.Names) -> list[str]:
    by_gate = (names.record, names.fence, names.probes, names.probed, names.status, names.outcomes, names.worker)
    return [names.gates, names.push, names.workers, *(name("g") for name in by_gate)]
