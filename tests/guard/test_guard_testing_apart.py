"""What is for tests opens nothing in production: no way leads there from settings, and no statement of a test counts there."""

from __future__ import annotations

import socket
import subprocess
import sys
import threading
from collections.abc import Callable

import pytest
from guard.standin import Monitor, denied_with
from project.test_rules import PACKAGES, code, complain, imports, name

from failshut import Cause, Configuration, Gate, Guard, Withheld, configure
from failshut import guard as process
from failshut.background.key_source import KeySource, NoInstallation
from failshut.store import names as store_names
from failshut.testing import Rehearsal, assert_guarded, rehearsal
from failshut.testing.guard import RehearsedGuard

SUBJECT = "agent:refund-7"
GATE = "payments.refund"


# --- No way leads there ---


def test_no_code_of_ours_imports_what_is_for_tests() -> None:
    """Nothing outside of the package imports it, and inside of it the plugin alone imports pytest."""
    faults = []
    for folder, _, _ in PACKAGES.values():
        for path in code(folder):
            inside = name(path).startswith("guard/failshut/testing/")
            for line, module in imports(path):
                if not inside and f"{module}.".startswith("failshut.testing."):
                    faults.append(f"{name(path)}:{line} imports {module}")
                if module.partition(".")[0] in ("pytest", "_pytest") and name(path) != "guard/failshut/testing/plugin.py":
                    faults.append(f"{name(path)}:{line} imports {module}")
    complain(faults, "What production can reach may open nothing.")


def modules_after(statement: str) -> set[str]:
    """The modules of a new process after a statement."""
    program = f"{statement}; import sys; print('\\n'.join(sys.modules))"
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, timeout=60, check=True)
    return set(done.stdout.split())


@pytest.mark.slow
def test_importing_the_guard_brings_nothing_of_it_and_it_brings_nothing_else() -> None:
    """A service has no test double in its memory, and its tests need no package that the service does not."""
    guard, tests = modules_after("import failshut"), modules_after("import failshut.testing")
    assert not [module for module in guard if module.startswith("failshut.testing")]
    brought = {module.partition(".")[0] for module in tests - guard}
    assert brought - set(sys.stdlib_module_names) == {"failshut"}


@pytest.mark.parametrize("value", ["testing", "failshut.testing", "failshut.testing.plugin", "memory://", "1"])
def test_no_setting_leads_to_a_rehearsal(monkeypatch: pytest.MonkeyPatch, stage: Rehearsal, value: str) -> None:
    """Whatever the environment and `configure` are told, the guard is a real one, and takes the gates out of the rehearsal."""
    stage.gate(GATE).open()
    gate = Gate(GATE)
    gate.check(SUBJECT)
    for variable in ("INSTALLATION", "TEST", "TESTING", "GUARD", "REHEARSAL"):
        monkeypatch.setenv(f"FAILSHUT_{variable}", value)
    monkeypatch.delenv("FAILSHUT_STORE", raising=False)
    guard = configure(installation="")
    try:
        assert type(guard) is Guard
        with pytest.raises(Withheld) as denied:
            gate.check(SUBJECT)
        assert denied.value.cause is Cause.STORE_UNREACHABLE
        with pytest.raises((TypeError, ValueError)):
            configure(guard=stage.guard)
        with pytest.raises((TypeError, ValueError)):
            configure(testing=True)
    finally:
        guard.close()
        process._default = None


# --- A test reaches no store ---


def test_a_rehearsal_opens_no_connection_and_starts_no_thread(monkeypatch: pytest.MonkeyPatch) -> None:
    """Even with a store in the environment: all that a test does happens in memory, in its own threads."""

    def refuse(*args: object, **kwargs: object) -> None:
        raise AssertionError("a connection from a rehearsal")

    monkeypatch.setenv("FAILSHUT_STORE", "redis://127.0.0.1:1/0")
    monkeypatch.setattr(socket.socket, "connect", refuse)
    monkeypatch.setattr(socket, "create_connection", refuse)
    before = set(threading.enumerate())
    with rehearsal() as stage:
        control = stage.gate(GATE)
        gate = Gate(GATE)
        control.prove(probes=1)
        with gate.execution(SUBJECT) as execution:
            assert execution.token

        def path(effect: Callable[[], None]) -> None:
            with gate.execution(SUBJECT):
                effect()

        assert_guarded(control, path)
        assert stage.guard.configuration.store_url == stage.guard.configuration.outcomes_store_url == ""
        assert stage.guard._watcher is None
        assert set(threading.enumerate()) == before
    assert stage.guard.faults == 0


def test_the_guard_of_a_rehearsal_takes_no_address(stage: Rehearsal) -> None:
    """There is no argument for one, and no place where one could be set afterwards."""
    with pytest.raises(TypeError):
        RehearsedGuard(store_url="redis://127.0.0.1:6379/0")  # type: ignore[call-arg]
    with pytest.raises(TypeError):
        rehearsal(store_url="redis://127.0.0.1:6379/0")  # type: ignore[call-arg]
    with pytest.raises(AttributeError):
        stage.guard.configuration.store_url = "redis://127.0.0.1:6379/0"  # type: ignore[misc]


# --- What a test signs counts nowhere else ---


def test_a_tests_installation_has_names_in_no_store(stage: Rehearsal) -> None:
    """Neither a guard nor a worker can say where its records would be; each rehearsal has another, and another key."""
    configuration = stage.guard.configuration
    with pytest.raises(ValueError, match="no name in any store"):
        store_names.Names(configuration.installation)
    keys = KeySource(configuration.jwks, configuration.installation)
    with pytest.raises(NoInstallation, match="no name in any store"):
        keys.names()
    other = Rehearsal().guard.configuration
    assert other.installation != configuration.installation
    assert other.jwks != configuration.jwks


@pytest.mark.parametrize("where", ["the test's installation", "the store's own"])
def test_a_real_guard_withholds_over_what_a_test_signed(
    monitor: Monitor, make_guard: Callable[..., Guard], stage: Rehearsal, where: str
) -> None:
    """A test's permit in a real store, and its keys in a real guard: denied, under the test's own installation or another."""
    control = stage.gate(monitor.gate).open()
    kept = control.stage.store.of(monitor.gate).record
    assert kept is not None
    configuration = stage.guard.configuration
    installation = configuration.installation if where == "the test's installation" else monitor.installation
    monitor.client.set(f"failshut:{installation}:{{{monitor.gate}}}:record", kept, px=60_000)
    guard = make_guard(jwks=configuration.jwks, installation=installation, clocks=configuration.clocks)
    gate = Gate(monitor.gate, guard=guard)
    if installation == monitor.installation:
        assert configuration.installation in str(denied_with(gate, Cause.FOREIGN))
    else:
        assert "no name in any store" in str(denied_with(gate, Cause.UNVERIFIED))
    assert guard.faults == 0


def test_a_tests_keys_make_no_configuration_that_opens(stage: Rehearsal) -> None:
    """The configuration of a rehearsal's guard, given to a real one, has no store."""
    stage.gate(GATE).open()
    guard = Guard(Configuration(**{field: getattr(stage.guard.configuration, field) for field in ("installation", "jwks")}))
    try:
        with pytest.raises(Withheld) as denied:
            Gate(GATE, guard=guard).check(SUBJECT)
        assert denied.value.cause is Cause.STORE_UNREACHABLE
    finally:
        guard.close()
