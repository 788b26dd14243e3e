"""What `failshut up` looks after: who dies is named and started again, and what dies again and again is given up."""

from __future__ import annotations

import os
import signal
import socket
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from patience import patient

from failshut_console.exits import Exit, Trouble
from failshut_console.local.ports import chosen
from failshut_console.local.stack import Child
from failshut_console.local.supervision import PAUSE_SECONDS_MAX, STARTS_MAX, STARTS_SECONDS, Supervisor
from failshut_servers.ports import free_port

SLEEPS = ["-c", "import time; time.sleep(600)"]
MEANS = "gates lapse"


class Clock:
    """Monotonic seconds that a test moves on."""

    def __init__(self) -> None:
        self.now = 1_000.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def child(tmp_path: Path) -> Iterator[Child]:
    """A process that sleeps; it is ready where a file is there."""
    made = Child(tmp_path / "child", "worker-1", SLEEPS, (tmp_path / "ready").exists)
    (tmp_path / "ready").touch()
    made.launch()
    try:
        yield made
    finally:
        made.kill()


def gone(child: Child) -> None:
    os.kill(child.pid, signal.SIGKILL)
    wait(lambda: not child.running)


def wait(what: Callable[[], bool]) -> None:
    end = time.monotonic() + patient(30)
    while not what():
        assert time.monotonic() < end
        time.sleep(0.01)


def test_a_process_that_dies_is_named_and_started_again(child: Child, tmp_path: Path) -> None:
    """With how it ended, what that means, and, once it answers, its new process id and for how long it was away."""
    said: list[str] = []
    clock = Clock()
    supervisor = Supervisor(said.append, clock)
    supervisor.watch(child, MEANS)
    supervisor.look()
    assert said == []
    before = child.pid
    gone(child)
    (tmp_path / "ready").unlink()
    supervisor.look()
    assert said == ["worker-1 ended (killed by SIGKILL): gates lapse. It is started again"]
    assert child.running
    assert child.pid != before
    supervisor.look()
    assert len(said) == 1, "it does not answer yet"
    clock.now += 2.5
    (tmp_path / "ready").touch()
    supervisor.look()
    supervisor.look()
    assert said[1:] == [f"worker-1 is back after 2.5 s (process {child.pid})"]


def test_what_dies_again_and_again_is_given_up(child: Child) -> None:
    """The first start is at once, each later one waits longer, and there are so many."""
    said: list[str] = []
    clock = Clock()
    supervisor = Supervisor(said.append, clock)
    supervisor.watch(child, MEANS)
    pauses = []
    for _ in range(STARTS_MAX):
        gone(child)
        supervisor.look()
        pause = 0
        while not child.running:
            clock.now += 1
            pause += 1
            supervisor.look()
        pauses.append(pause)
    assert pauses == [0, 1, 2, 4, PAUSE_SECONDS_MAX]
    gone(child)
    with pytest.raises(Trouble) as trouble:
        supervisor.look()
    assert trouble.value.status is Exit.REFUSED
    assert MEANS in trouble.value.means
    assert not child.running
    assert len(said) == STARTS_MAX + 1


def test_deaths_that_lie_far_apart_are_no_reason_to_give_up(child: Child) -> None:
    """A process that lived long in between is started at once."""
    clock = Clock()
    supervisor = Supervisor(lambda _: None, clock)
    supervisor.watch(child, MEANS)
    for _ in range(2 * STARTS_MAX):
        gone(child)
        supervisor.look()
        assert child.running
        clock.now += STARTS_SECONDS + 1


def test_an_ended_process_is_told_by_its_last_words(tmp_path: Path) -> None:
    """A fault of its own is in its log, and the reader sees it at once."""
    failing = Child(tmp_path, "gateway", ["-c", "raise ValueError('no such key')"], lambda: True)
    failing.launch()
    wait(lambda: failing.status is not None)
    said: list[str] = []
    supervisor = Supervisor(said.append, Clock())
    supervisor.watch(failing, "nobody can ask", failing.last_words)
    supervisor.look()
    assert said == ["gateway ended (status 1: ValueError: no such key): nobody can ask. It is started again"]
    failing.kill()
    assert failing.status is None


def test_a_running_process_is_not_forgotten(child: Child) -> None:
    """Else it would outlive its owner."""
    with pytest.raises(RuntimeError, match="is running"):
        child.forget()


# --- ports ---


def test_ports_stay_as_they_were(tmp_path: Path) -> None:
    """What was chosen once is taken again, one that is named takes its place, and one that is taken gives way."""
    first = chosen(tmp_path, kafka=0, store=0)
    assert chosen(tmp_path, kafka=0, store=0) == first
    named = free_port()
    assert chosen(tmp_path, kafka=named, store=0) == {"kafka": named, "store": first["store"]}
    assert chosen(tmp_path, kafka=0)["kafka"] == named
    with socket.create_server(("127.0.0.1", first["store"])):
        other = chosen(tmp_path, store=0)["store"]
        assert other != first["store"]
        with pytest.raises(Trouble, match="in use"):
            chosen(tmp_path, store=first["store"])
    assert chosen(tmp_path, store=0)["store"] == other


@pytest.mark.parametrize("port", [-1, 65_536, 1 << 70])
def test_a_port_that_is_none_is_refused(port: int, tmp_path: Path) -> None:
    """Before anything is started."""
    with pytest.raises(Trouble, match="is no port"):
        chosen(tmp_path, kafka=port)


@pytest.mark.parametrize("text", ["", "[]", "{", '{"kafka": "1"}', '{"kafka": true}', '{"kafka": 70000}', "[" * 90_000])
def test_a_file_of_ports_that_says_nothing_asks_for_free_ones(text: str, tmp_path: Path) -> None:
    """It is no reason not to start."""
    (tmp_path / "ports.json").write_text(text)
    assert 0 < chosen(tmp_path, kafka=0)["kafka"] < 65_536


def test_two_names_do_not_share_a_port(tmp_path: Path) -> None:
    """However the file came to say so."""
    port = free_port()
    (tmp_path / "ports.json").write_text(f'{{"kafka": {port}, "store": {port}}}')
    ports = chosen(tmp_path, kafka=0, store=0)
    assert ports["kafka"] == port
    assert ports["store"] != port
