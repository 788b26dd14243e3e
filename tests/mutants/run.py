"""Mutation testing: take away one decision at a time, and see whether a test notices.

Mutating the whole tree takes hours, and no library mutates Lua. So catalogue.toml names lines that decide, each with a
wrong text and the few tests that must fail over it. The checkout is never changed: a mutant is a copy of one package, which
comes first on PYTHONPATH. Before any mutant, its tests must pass against such a copy without a mutation.

Only a failed test kills: a test that does not exist, or a file that cannot be collected, is an error. A mutant that is listed
with `survives` must survive, or its reason is wrong. Limit: what the catalogue does not name is not asked.

    python tests/mutants/run.py [--only ID ...] [--jobs N] [--json] [--list]
"""

from __future__ import annotations

import argparse
import ast
import json
import os
import shutil
import signal
import subprocess
import sys
import tempfile
import time
import tomllib
from collections import Counter
from collections.abc import Iterable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict, dataclass
from functools import lru_cache
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
CATALOGUE = Path(__file__).with_name("catalogue.toml")
RUN_SECONDS_MAX = 600
TEST_SECONDS_MAX = 120
FIELDS = {"id", "file", "old", "new", "tests", "survives"}

DEFINITIONS = (ast.ClassDef, ast.FunctionDef, ast.AsyncFunctionDef)
PASSED, FAILED = 0, 1  # what pytest exits with


class BadCatalogue(ValueError):
    """The catalogue cannot be used as it is."""


@dataclass(frozen=True)
class Mutant:
    """One line that decides, with what stands there instead."""

    id: str
    file: str
    old: str
    new: str
    tests: tuple[str, ...]
    survives: str = ""
    """Why nothing can notice; empty where a test must."""

    @property
    def package(self) -> Path:
        """The folder that is copied, such as breakers/failshut_breakers."""
        return Path(*Path(self.file).parts[:2])

    def mutated(self, text: str) -> str:
        """The file's text with the mutation."""
        return text.replace(self.old, self.new)

    def faults(self, root: Path = ROOT) -> list[str]:
        """What is wrong with it: its text is not there exactly once, the mutant is no Python, or a test is missing."""
        path = root / self.file
        if not path.is_file():
            return [f"{self.id}: there is no {self.file}"]
        text = path.read_text(encoding="utf-8")
        found = text.count(self.old)
        faults = [] if found == 1 else [f"{self.id}: its text occurs {found} times in {self.file}: {self.old!r}"]
        if self.old == self.new:
            faults.append(f"{self.id}: it changes nothing")
        if path.suffix == ".py" and not _is_python(self.mutated(text)):
            faults.append(f"{self.id}: the mutant is no Python, which any test would notice")
        for test in self.tests:
            faults += [f"{self.id}: {fault}" for fault in _faults_of_test(test, root)]
        return faults


def _is_python(text: str) -> bool:
    try:
        ast.parse(text)
    except SyntaxError:
        return False
    return True


@lru_cache(maxsize=32)
def _statements(text: str) -> list[ast.stmt]:
    """Those of a file of tests, which many mutants name."""
    return ast.parse(text).body


def _faults_of_test(test: str, root: Path) -> list[str]:
    name, *within = test.split("::")
    path = root / name
    if not path.is_file():
        return [f"there is no {name}"]
    body = _statements(path.read_text(encoding="utf-8"))
    for part in within:
        wanted = part.partition("[")[0]
        found = [node for node in body if isinstance(node, DEFINITIONS) and node.name == wanted]
        if not found:
            return [f"{name} has no {wanted!r} where {test!r} says"]
        body = found[0].body
    return []


def read_catalogue(path: Path = CATALOGUE) -> list[Mutant]:
    """Read the catalogue.

    Raises:
        BadCatalogue: an entry has other fields, an empty one, or an id that another one has.
    """
    mutants: list[Mutant] = []
    for entry in tomllib.loads(path.read_text(encoding="utf-8"))["mutant"]:
        lacking = (FIELDS - {"survives"}) - entry.keys()
        if lacking or entry.keys() - FIELDS:
            raise BadCatalogue(f"{entry.get('id')}: fields are {sorted(FIELDS)}; it has {sorted(entry)}")
        empty = [name for name in entry if name != "new" and not entry[name]]
        if empty:
            raise BadCatalogue(f"{entry['id']}: {empty[0]} is empty")
        mutants.append(Mutant(**{**entry, "tests": tuple(entry["tests"])}))
    twice = [identity for identity, count in Counter(mutant.id for mutant in mutants).items() if count > 1]
    if twice:
        raise BadCatalogue(f"two mutants are called {twice[0]}")
    return mutants


@dataclass(frozen=True)
class Verdict:
    """What became of a mutant: killed, survived, or error; and whether that is what the catalogue says."""

    id: str
    file: str
    became: str
    expected: bool
    seconds: float
    words: str


def overlay(package: Path, into: Path) -> Path:
    """Copy a package below a folder and return the copy."""
    copy = into / package.name
    shutil.copytree(ROOT / package, copy, ignore=shutil.ignore_patterns("__pycache__"))
    return copy


def run_pytest(tests: Iterable[str], first: Path) -> tuple[int | None, str]:
    """Run tests with a folder first on the path; return the exit status (None: it took too long) and the last lines."""
    command = [sys.executable, "-m", "pytest", "-x", "-q", "-p", "no:cacheprovider", f"--timeout={TEST_SECONDS_MAX}", *tests]
    environment = {**os.environ, "PYTHONPATH": str(first), "PYTHONDONTWRITEBYTECODE": "1"}
    process = subprocess.Popen(
        command,
        cwd=ROOT,
        env=environment,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        errors="replace",
        start_new_session=True,
    )
    try:
        said, _ = process.communicate(timeout=RUN_SECONDS_MAX)
    except BaseException as error:
        os.killpg(process.pid, signal.SIGKILL)  # with the servers that its tests started
        process.communicate()
        if isinstance(error, subprocess.TimeoutExpired):
            return None, f"it took more than {RUN_SECONDS_MAX} s"
        raise
    failed = [line for line in said.splitlines() if line.startswith(("FAILED ", "ERROR tests", "ERROR: "))]
    return process.returncode, failed[0] if failed else (said.strip().splitlines() or [""])[-1]


def imports_the_copy(package: Path, first: Path) -> bool:
    """Whether a Python with the folder first on its path imports the package from there."""
    command = [sys.executable, "-c", f"import {package.name}; print({package.name}.__file__)"]
    environment = {**os.environ, "PYTHONPATH": str(first), "PYTHONDONTWRITEBYTECODE": "1"}
    done = subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, text=True, check=False)
    return Path(done.stdout.strip()).is_relative_to(first)


def try_mutant(mutant: Mutant) -> Verdict:
    """Run the tests of a mutant against it."""
    began = time.monotonic()
    with tempfile.TemporaryDirectory(prefix="mutant-") as folder:
        first = Path(folder).resolve()
        copy = overlay(mutant.package, first)
        path = copy / Path(mutant.file).relative_to(mutant.package)
        path.write_text(mutant.mutated(path.read_text(encoding="utf-8")), encoding="utf-8")
        status, words = run_pytest(mutant.tests, first)
    became = {PASSED: "survived", FAILED: "killed"}.get(-1 if status is None else status, "error")
    expected = became == ("survived" if mutant.survives else "killed")
    if became == "survived" and mutant.survives:
        words = mutant.survives
    return Verdict(mutant.id, mutant.file, became, expected, round(time.monotonic() - began, 1), words)


def check_unmutated(mutants: list[Mutant]) -> list[str]:
    """Run every test that will judge against copies without a mutation; return what is wrong."""
    with tempfile.TemporaryDirectory(prefix="unmutated-") as folder:
        first = Path(folder).resolve()
        packages = sorted({mutant.package for mutant in mutants})
        for package in packages:
            overlay(package, first)
        faults = [f"{package} is not imported from its copy" for package in packages if not imports_the_copy(package, first)]
        if not faults:
            tests = sorted({test for mutant in mutants for test in mutant.tests})
            status, words = run_pytest(tests, first)
            faults = [] if status == PASSED else [f"without a mutation the tests do not pass (status {status}): {words}"]
    return faults


def line(verdict: Verdict) -> str:
    """A verdict for a person; what is not as the catalogue says begins with an exclamation mark."""
    mark = " " if verdict.expected else "!"
    return f"{mark} {verdict.became:<9}{verdict.id:<36} {verdict.seconds:>6.1f} s  {verdict.words}"


def figures(verdicts: list[Verdict]) -> str:
    """How many were killed, survived, or could not be judged."""
    counts = Counter(verdict.became for verdict in verdicts)
    wrong = sum(not verdict.expected for verdict in verdicts)
    said = ", ".join(f"{counts[name]} {name}" for name in ("killed", "survived", "error"))
    return f"{len(verdicts)} mutants: {said}; {wrong} not as the catalogue says"


def options_of(arguments: list[str] | None) -> argparse.Namespace:
    """Read the command line."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--only", nargs="+", metavar="ID", default=[], help="these mutants alone")
    parser.add_argument("--jobs", type=int, default=1, help="mutants at once (default 1: each may start a server)")
    parser.add_argument("--json", action="store_true", help="print the verdicts as JSON")
    parser.add_argument("--list", action="store_true", help="print the ids, and run nothing")
    return parser.parse_args(arguments)


def main(arguments: list[str] | None = None) -> int:
    """Run the mutants; return 0 where all is as the catalogue says, 1 where not, 2 where it cannot be used."""
    options = options_of(arguments)
    try:
        everything = read_catalogue()
    except (BadCatalogue, tomllib.TOMLDecodeError) as error:
        print(error, file=sys.stderr)
        return 2
    faults = [f"no mutant is called {name}" for name in sorted(set(options.only) - {mutant.id for mutant in everything})]
    faults += [fault for mutant in everything for fault in mutant.faults()]
    mutants = [mutant for mutant in everything if not options.only or mutant.id in options.only]
    if options.list and not faults:
        print("\n".join(mutant.id for mutant in mutants))
        return 0
    faults = faults or check_unmutated(mutants)
    if faults:
        print("\n".join(faults), file=sys.stderr)
        return 2
    verdicts: list[Verdict] = []
    with ThreadPoolExecutor(max(1, options.jobs)) as pool:
        for verdict in pool.map(try_mutant, mutants):
            verdicts.append(verdict)
            print(line(verdict), file=sys.stderr if options.json else sys.stdout, flush=True)
    print(json.dumps([asdict(verdict) for verdict in verdicts], indent=2) if options.json else figures(verdicts))
    return 0 if all(verdict.expected for verdict in verdicts) else 1


if __name__ == "__main__":
    sys.exit(main())
