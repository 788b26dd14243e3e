"""A command is imported when it is called; help, completion and short commands cost no client library."""

from __future__ import annotations

import inspect
import os
import subprocess
import sys
from importlib.metadata import version

import pytest
import typer
from console.console_support import Failshut
from patience import patient

from failshut_console.app import COMMANDS, app
from failshut_console.lazy_commands import Lazy

#: What deciding, reading Kafka and drawing need.
HEAVY = {"faust", "matplotlib", "numpy", "optuna", "pandas", "pyarrow", "river", "scipy", "sqlalchemy"}
CLIENTS = {"aiokafka", "failshut", "redis"}

CALLS = """
import os, sys
from failshut_console.main import main
for call in sys.argv[1:]:
    if call.startswith("complete "):
        words = call.removeprefix("complete ")
        os.environ.update(_FAILSHUT_COMPLETE="complete_bash", COMP_WORDS=words, COMP_CWORD=str(words.count(" ")))
        call = "failshut"
    sys.argv = call.split()
    try:
        main()
    except SystemExit:
        pass
    print("imported:", *sorted({name.partition(".")[0] for name in sys.modules}), flush=True)
"""


def in_a_fresh_process(*calls: str) -> list[tuple[str, set[str]]]:
    """What each call printed, one after the other, and all packages that were imported by then."""
    ended = subprocess.run(
        [sys.executable, "-c", CALLS, *calls],
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        timeout=patient(60),
        env={name: value for name, value in os.environ.items() if not name.startswith("FAILSHUT_")},
    )
    found, said = [], ""
    for line in ended.stdout.splitlines():
        if line.startswith("imported:"):
            found.append((said, set(line.split()[1:])))
            said = ""
        else:
            said += line + "\n"
    return found


def test_help_and_completion_need_no_client_and_no_library() -> None:
    """Who asks what there is, or completes a word, waits for nothing that only a monitor needs."""
    says = {
        "failshut": "Usage",
        "failshut --help": "lock",
        "failshut --version": version("failshut"),
        "failshut gates --help": "--store",
        "failshut lock --help": "--why",
        "failshut policy check --help": "--strict",
        "complete failshut ga": "gates",
        "complete failshut lock --w": "--why",
    }
    found = in_a_fresh_process(*says)
    assert len(found) == len(says)
    for (call, word), (out, packages) in zip(says.items(), found, strict=True):
        assert word in out, call
        assert not packages & (HEAVY | CLIENTS), call


@pytest.mark.slow
def test_a_command_brings_the_client_that_it_needs_and_no_other() -> None:
    """`gates` reads the store and `lock` writes to Kafka; neither needs a detector."""
    (_, gates), (_, lock) = in_a_fresh_process(
        f"failshut gates --store redis://127.0.0.1:1/0 --installation {'i' * 32}",
        f"failshut lock a.b --why x --broker kafka://127.0.0.1:1 --installation {'i' * 32}",
    )
    assert "redis" in gates
    assert not gates & (HEAVY | {"aiokafka"})
    assert "aiokafka" in lock
    assert not lock & HEAVY


@pytest.mark.parametrize("command", COMMANDS, ids=lambda command: command.name)
def test_the_table_says_of_a_command_what_it_says_of_itself(command: Lazy) -> None:
    """The sentence that is listed without the command is the first paragraph of its own help."""
    loaded, listed = command.load(), command.stand_in()
    first = inspect.cleandoc(loaded.help).partition("\n\n")[0].replace("\n", " ")
    assert (loaded.name, first, loaded.hidden) == (command.name, command.said, command.hidden)
    assert (listed.name, listed.help, listed.hidden) == (command.name, command.said, command.hidden)


def test_a_command_that_is_none_is_refused_with_the_nearest(failshut: Failshut) -> None:
    """A mistyped command is not imported, and the error names one that there is."""
    ended = failshut("gate")
    assert ended.status == 2
    assert "gates" in ended.err


def test_what_is_listed_is_what_there_is() -> None:
    """--help lists every command of the table once, in its order."""
    group = typer.main.get_command(app)
    assert list(group.commands) == [command.name for command in COMMANDS]  # type: ignore[attr-defined] # it is a group


def test_the_version_is_the_installed_one(failshut: Failshut) -> None:
    """Reports name it."""
    ended = failshut("--version")
    assert (ended.status, ended.out) == (0, f"failshut {version('failshut')}\n")
