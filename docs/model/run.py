"""Checks the models of the protocol with SPIN, and says for each mechanism whether it is needed.

A case is a model, the mechanisms that are switched off, and what is expected: that the whole state space is
searched and every claim holds, or that SPIN finds a counterexample. `--quick` takes the cases of a few seconds,
which the test suite runs. Cases run one after the other, each within a limit of memory and time; a case that
reaches a limit is not what was expected. The exit status is 0 if all is as expected, 1 if not, and 0 with a
word about it where SPIN or a C compiler is not installed.
"""

from __future__ import annotations

import argparse
import json
import re
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterable
from dataclasses import asdict, dataclass
from pathlib import Path

HERE = Path(__file__).resolve().parent
MEMORY_MB_MAX = 3_800
SECONDS_MAX = 900
DEPTH_MAX = 100_000

HOLDS = "holds"
COUNTEREXAMPLE = "counterexample"


@dataclass(frozen=True)
class Case:
    """A model, what is switched off in it, its sizes, and what is expected."""

    model: str
    off: tuple[str, ...] = ()
    sizes: tuple[str, ...] = ()
    expected: str = HOLDS
    quick: bool = True

    @property
    def name(self) -> str:
        """The switches in short, for the table."""
        words = [f"without {' and '.join(word.lower().replace('_', ' ') for word in self.off)}"] if self.off else []
        return " ".join([*words, *(f"[{size.lower().replace('_', ' ')}]" for size in self.sizes)]) or "as it stands"


@dataclass(frozen=True)
class Outcome:
    """What SPIN said of a case."""

    model: str
    case: str
    expected: str
    seen: str
    claim: str
    states: int
    seconds: float
    memory_mb: float

    @property
    def as_expected(self) -> bool:
        """Whether SPIN said what was expected."""
        return self.seen == self.expected


def bad(model: str, *off: str, sizes: tuple[str, ...] = (), quick: bool = True) -> Case:
    """Return a case for which a counterexample is expected."""
    return Case(model, off, sizes, COUNTEREXAMPLE, quick)


CASES = (
    Case("thin", sizes=("F=4",)),
    Case("thin", quick=False),
    bad("thin", "ENDS"),
    bad("thin", "SAME"),
    bad("thin", "FIRST"),
    bad("thin", "KEPT", quick=False),
    bad("thin", "LAST"),
    bad("thin", "MARGIN", sizes=("F=4",)),
    bad("thin", "CARRY"),
    Case("permit", sizes=("N=3",)),
    bad("permit", "EVIDENCE_EXP", sizes=("N=2",)),
    bad("permit", "SWAP", sizes=("N=3",)),
    bad("permit", "STAYS", sizes=("N=3",)),
    bad("permit", "GUARD_EPOCH", sizes=("N=3",)),
    bad("permit", "FINAL_STATE", "TIE", sizes=("N=3",)),
    Case("permit", ("FINAL_STATE",), ("N=3",), quick=False),
    Case("permit", ("TIE",), ("N=3",), quick=False),
    Case("permit", ("RENEW_RULE",), ("N=3",), quick=False),
    Case("permit", sizes=("N=4",), quick=False),
    Case("seal", sizes=("N=2", "TMAX=1")),
    bad("seal", "EPOCH", sizes=("N=2",)),
    bad("seal", "CUT", sizes=("N=2",)),
    Case("seal", sizes=("TERMS", "N=2")),
    bad("seal", "TERM", sizes=("TERMS", "N=2")),
    Case("seal", sizes=("N=2",), quick=False),
    Case("seal", sizes=("N=2", "FLUSH"), quick=False),
    Case("seal", ("AFTER",), ("N=2",), quick=False),
    Case("seal", ("OLDER",), ("N=2",), quick=False),
    Case("seal", ("SWAP",), ("N=2",), quick=False),
    Case("seal", ("AFTER", "OLDER", "SWAP"), ("N=2",), quick=False),
    Case("waking"),
    bad("waking", "IN_TIME", sizes=("SAFE_ONLY",)),
    bad("waking", "DUE_FIRST", sizes=("SAFE_ONLY",)),
    bad("waking", "CATCH_UP"),
    bad("waking", "AWAKE"),
    bad("waking", "MOVE"),
    bad("waking", "PASSED"),
    Case("history"),
    bad("history", "CHAIN"),
    bad("history", "COVERED"),
    bad("history", "BOUND"),
    bad("history", "ONCE"),
    Case("watermark"),
    bad("watermark", "OLDEST"),
    bad("watermark", "BEHIND"),
    bad("watermark", "NAMES_EPOCH"),
    bad("watermark", "RAISES"),
    Case("watermark", sizes=("F=5",), quick=False),
    Case("chain"),
    bad("chain", "STOP"),
    bad("chain", "STOP", "CHAIN", sizes=("SAFE_ONLY",), quick=False),
    Case("chain", ("ONE_BATCH",), quick=False),
    bad("chain", "ONE_BATCH", "CHAIN", sizes=("SAFE_ONLY",)),
    bad("chain", "ACKED"),
    bad("chain", "ACKED", "CHAIN", sizes=("SAFE_ONLY",), quick=False),
    bad("chain", "BOTH"),
    bad("chain", "AT_MARK"),
    bad("chain", "SKIP"),
    bad("chain", "CHAIN", sizes=("TRUNCATED", "F=4")),
    bad("chain", "HONEST", sizes=("TRUNCATED", "F=4")),
    Case("chain", sizes=("TRUNCATED", "F=4")),
    Case("chain", sizes=("TRUNCATED",), quick=False),
    Case("chain", sizes=("ROUTERS=2", "F=4"), quick=False),
    Case("routing", sizes=("FP=3",)),
    bad("routing", "VERSION", sizes=("SAFE_ONLY",)),
    bad("routing", "GO_BACK"),
    bad("routing", "GO_BACK", sizes=("SAFE_ONLY",), quick=False),
    Case("routing", ("CHECK",), quick=False),
    bad("routing", "STRICT"),
    bad("routing", "APPEND_TIME", sizes=("DELAYED",), quick=False),
    bad("routing", "MARGIN", sizes=("SKEW",), quick=False),
    bad("routing", "CONTROL_MARK"),
    bad("routing", "READ_CONTROL"),
    bad("routing", "READ_CONTROL", sizes=("SAFE_ONLY",), quick=False),
    bad("routing", "CUT_VERSION"),
    Case("routing", ("CUT_VERSION",), ("SAFE_ONLY",), quick=False),
    bad("routing", "CUT_VERSION", "CHECK", sizes=("SAFE_ONLY",), quick=False),
    bad("routing", "OLDER", sizes=("ROUTERS=2", "FP=3", "FC=2")),
    bad("routing", "AS_COVERED", sizes=("ROUTERS=2", "FP=3", "FC=2"), quick=False),
    bad("routing", "EACH", sizes=("TWO_ACTIVATIONS",)),
    bad("routing", "EACH", sizes=("TWO_ACTIVATIONS", "SAFE_ONLY"), quick=False),
    bad("routing", "CHAIN", sizes=("TWO_ACTIVATIONS", "SAFE_ONLY"), quick=False),
    Case("routing", sizes=("MISREAD", "FP=3", "FC=2")),
    bad("routing", "DIGEST", sizes=("MISREAD", "SAFE_ONLY", "FP=3", "FC=2")),
    bad("routing", "RETELL", sizes=("MISREAD", "FP=3", "FC=2")),
    bad("routing", "OWED", sizes=("MISREAD", "TWO_ACTIVATIONS", "SAFE_ONLY"), quick=False),
    Case("routing", sizes=("MISREAD",), quick=False),
    Case("routing", sizes=("MISREAD", "TWO_ACTIVATIONS", "FP=3"), quick=False),
    Case("routing", sizes=("MISREAD", "ROUTERS=2", "FP=2", "FC=2"), quick=False),
    bad("routing", "GAPS", sizes=("MISREAD", "ROUTERS=2", "FP=3", "FC=2"), quick=False),
    Case("routing", quick=False),
    Case("routing", sizes=("DELAYED",), quick=False),
    Case("routing", sizes=("SKEW",), quick=False),
    Case("routing", sizes=("TWO_ACTIVATIONS",), quick=False),
    Case("routing", sizes=("ROUTERS=2", "FP=3", "FC=2"), quick=False),
    Case("skew"),
    bad("skew", "APPEND_TIME"),
    Case("skew", ("CEILING",)),
    Case("upgrade"),
    bad("upgrade", "TRIP"),
    bad("upgrade", "END"),
    bad("upgrade", "WAIT"),
    bad("upgrade", "KEPT"),
    Case("grow"),
    bad("grow", "COUNT"),
    bad("grow", "AFTER"),
    bad("grow", "ZERO"),
    Case("cool", sizes=("F=4",)),
    bad("cool", "NEWEST"),
    Case("cool", quick=False),
    Case("reopen"),
    bad("reopen", "STANDS"),
    bad("reopen", "NEWS"),
    Case("proving"),
    bad("proving", "ONCE"),
    bad("proving", "FENCE"),
    bad("proving", "OUTCOME_EPOCH"),
    bad("proving", "TOKEN_ONCE"),
    bad("proving", "MAC"),
    bad("proving", "INTERNAL"),
    bad("proving", "DEADLINE"),
    Case("proving", sizes=("FLUSH",)),
    bad("proving", sizes=("FLUSH", "ASK_TOO_MUCH")),
    Case("proving", sizes=("N=8",), quick=False),
    Case("bypass", sizes=("F=3",)),
    bad("bypass", "CAP"),
    bad("bypass", "NAMES_EPOCH"),
    bad("bypass", "VOID"),
    bad("bypass", "ENDS", "CAP"),
    Case("bypass", sizes=("EARLY_END", "F=3")),
    bad("bypass", "EARLY", sizes=("EARLY_END",)),
    bad("bypass", "ANY_EPOCH", sizes=("EARLY_END",)),
    Case("bypass", ("ENDS",), quick=False),
    Case("bypass", quick=False),
    Case("bypass", sizes=("EARLY_END",), quick=False),
)


class NotChecked(Exception):
    """SPIN or the compiler did not take the model."""


def missing_tool() -> str:
    """Return the name of a tool that is not installed, or an empty text."""
    return next((tool for tool in ("spin", "gcc") if shutil.which(tool) is None), "")


def check(case: Case) -> Outcome:
    """Check one case in a folder of its own.

    Raises:
        NotChecked: the model does not compile.
    """
    began = time.monotonic()
    with tempfile.TemporaryDirectory(prefix="failshut-model-") as folder:
        flags = [f"-DOFF_{switch}" for switch in case.off] + [f"-D{size}" for size in case.sizes]
        shutil.copy(HERE / f"{case.model}.pml", folder)
        _tool(["spin", "-a", *flags, f"{case.model}.pml"], folder)
        squeeze = [] if case.quick else ["-DCOLLAPSE"]  # slower, and a third of the memory
        compiler = ["gcc", "-O1", "-w", "-DSAFETY", f"-DMEMLIM={MEMORY_MB_MAX}", *squeeze, "-o", "pan", "pan.c"]
        _tool(compiler, folder)
        try:
            command = ["./pan", f"-m{DEPTH_MAX}", "-n"]
            said = subprocess.run(command, cwd=folder, capture_output=True, text=True, timeout=SECONDS_MAX, check=False).stdout
        except subprocess.TimeoutExpired:
            said = ""
    return _outcome(case, said, time.monotonic() - began)


def _tool(command: list[str], folder: str) -> None:
    done = subprocess.run(command, cwd=folder, capture_output=True, text=True, timeout=SECONDS_MAX, check=False)
    if done.returncode:
        raise NotChecked(f"{' '.join(command)}: {done.stdout[-500:]}{done.stderr[-500:]}")


def _outcome(case: Case, said: str, seconds: float) -> Outcome:
    broken = re.search(r"assertion violated (.*) \(at depth", said)
    clean = re.search(r"errors: 0\b", said)
    unfinished = re.search(r"Search not completed|max search depth|out of memory|Interrupted", said)
    if broken:
        seen = COUNTEREXAMPLE
    elif clean and not unfinished:
        seen = HOLDS
    else:
        seen = "not finished"  # a limit, or an error that is no violated claim
    states = re.search(r"(\d+) states, stored", said)
    memory = re.search(r"([\d.]+)\s+total actual memory usage", said)
    return Outcome(
        model=case.model,
        case=case.name,
        expected=case.expected,
        seen=seen,
        claim=broken[1] if broken else "",
        states=int(states[1]) if states else 0,
        seconds=round(seconds, 1),
        memory_mb=float(memory[1]) if memory else 0.0,
    )


def chosen(quick: bool, models: Iterable[str] = ()) -> list[Case]:
    """Return the cases of a run."""
    names = set(models)
    return [case for case in CASES if (case.quick or not quick) and (not names or case.model in names)]


ROW = "{:<10} {:<58} {:<15} {:<15} {:>11} {:>7} {:>7}"


def _row(outcome: Outcome) -> str:
    line = ROW.format(
        outcome.model,
        outcome.case,
        outcome.expected,
        outcome.seen,
        f"{outcome.states:,}",
        f"{outcome.seconds:.1f}",
        f"{outcome.memory_mb:.0f}",
    )
    return line if outcome.as_expected else f"{line}  <- not as expected"


def main(arguments: list[str] | None = None) -> int:
    """Run the cases and print the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--quick", action="store_true", help="only the cases of a few seconds each")
    parser.add_argument("--json", action="store_true", help="print one JSON object instead of the table")
    parser.add_argument("models", nargs="*", help="only these models, such as: routing chain")
    options = parser.parse_args(arguments)
    unknown = sorted(set(options.models) - {case.model for case in CASES})
    if unknown:
        parser.error(f"no model is named {unknown[0]!r}")
    missing = missing_tool()
    if missing:
        skipped = f"skipped: {missing} is not installed"
        print(json.dumps({"skipped": skipped, "outcomes": []}) if options.json else f"models: {skipped}")
        return 0
    if not options.json:
        print(ROW.format("model", "mechanism switched off", "expected", "seen", "states", "seconds", "MB"))
    outcomes = []
    for case in chosen(options.quick, options.models):
        outcome = check(case)
        outcomes.append(outcome)
        if not options.json:
            print(_row(outcome), flush=True)
    wrong = sum(not outcome.as_expected for outcome in outcomes)
    if options.json:
        rows = [{**asdict(outcome), "as_expected": outcome.as_expected} for outcome in outcomes]
        print(json.dumps({"skipped": "", "wrong": wrong, "outcomes": rows}, indent=1))
    else:
        print(f"{len(outcomes)} cases, {wrong} not as expected")
    return 1 if wrong else 0


if __name__ == "__main__":
    sys.exit(main())
