"""What a call of `failshut` costs before it does anything: CPU seconds of a process, beside an empty Typer app's.

`gates` and `lock` are given servers that refuse the connection, so that what is left is imports and options. Beside them
stands a process that imports only the clients that each cannot do without. Rounds alternate. CPU time (user and system) bears
other work on the machine better than wall time does, but not without a trace: a busy core's caches are colder.
"""

from __future__ import annotations

import os
import resource
import statistics
import subprocess
import sys
import tempfile
from pathlib import Path

import harness

ROUNDS = 11
EMPTY = """
import typer
app = typer.Typer()
@app.command()
def one(): "One."
@app.command()
def two(): "Two."
app()
"""
PYTHON = (sys.executable, "-c")
FAILSHUT = (str(Path(sys.executable).with_name("failshut")),)
INSTALLATION = ("--installation", "i" * 32)

CALLS: dict[str, tuple[str, ...]] = {
    "an empty Typer app --help": (*PYTHON, EMPTY, "--help"),
    "failshut --help": (*FAILSHUT, "--help"),
    "failshut --version": (*FAILSHUT, "--version"),
    "failshut lock --help": (*FAILSHUT, "lock", "--help"),
    "completion of a command": FAILSHUT,
    "clients of gates alone": (*PYTHON, "import typer.rich_utils, pydantic, redis, jwt"),
    "failshut gates": (*FAILSHUT, "gates", "--store", "redis://127.0.0.1:1/0", *INSTALLATION),
    "clients of lock alone": (*PYTHON, "import typer, pydantic, redis, jwt, aiokafka.admin, msgspec"),
    "failshut lock": (*FAILSHUT, "lock", "a.b", "--why", "x", "--broker", "kafka://127.0.0.1:1", *INSTALLATION),
}
COMPLETING = {"_FAILSHUT_COMPLETE": "complete_bash", "COMP_WORDS": "failshut ga", "COMP_CWORD": "1"}


def cpu_s(name: str, folder: str) -> float:
    """CPU seconds of one call, user and system, of the process and of those that it waited for."""
    left_out = ("FAILSHUT_", "PYTHONDONTWRITEBYTECODE")  # with the second, each call would compile our files anew
    environment = {key: value for key, value in os.environ.items() if not key.startswith(left_out)}
    if name.startswith("completion"):
        environment |= COMPLETING
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    subprocess.run(CALLS[name], env=environment, cwd=folder, capture_output=True, check=False)
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    return after.ru_utime - before.ru_utime + after.ru_stime - before.ru_stime


def main() -> None:
    report = harness.Report("command_line", ["failshut", "typer", "rich", "redis", "aiokafka"])
    with tempfile.TemporaryDirectory() as folder:
        for name in CALLS:
            cpu_s(name, folder)  # compiles, and warms the disk's cache
        rounds = []
        for at in range(ROUNDS):
            harness.say(f"round {at + 1} of {ROUNDS}")
            rounds.append({name: cpu_s(name, folder) for name in CALLS})
    cost = {name: statistics.median(one[name] for one in rounds) for name in CALLS}
    for name, value in cost.items():
        report.figure(name, value, "CPU s")
    report.goal("failshut --help, CPU s", cost["failshut --help"], 0.3)
    report.goal("failshut --version, CPU s", cost["failshut --version"], 0.3)
    report.goal("failshut --help, of the empty app's", cost["failshut --help"] / cost["an empty Typer app --help"], 1.5)
    report.goal("failshut gates, of its clients alone", cost["failshut gates"] / cost["clients of gates alone"], 1.5)
    report.goal("failshut lock, of its clients alone", cost["failshut lock"] / cost["clients of lock alone"], 1.5)
    report.finish()


if __name__ == "__main__":
    main()
