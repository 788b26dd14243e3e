"""The command line as a function: arguments in, exit status and both outputs out."""

from __future__ import annotations

import logging
import signal
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import NamedTuple

import pytest

from failshut_console.main import main

GOOD = """\
gate: payments.refund
permit: {ttl: 2s}
subjects: ["agent:*"]
conditions:
  - heartbeat: {source: refund-agent, every: 500ms, grace: 3s}
  - drift: {series: refund-agent/amount_eur, detector: adwin}
reset: {after: 3s, probes: 3}
"""


class Ended(NamedTuple):
    """How a command ended."""

    status: int
    out: str
    err: str


Failshut = Callable[..., Ended]


@contextmanager
def as_it_was() -> Iterator[None]:
    """Put back what a command changes of its process: who hears SIGTERM, and where the log goes."""
    root, told = logging.getLogger(), signal.getsignal(signal.SIGTERM)
    handlers, level = list(root.handlers), root.level
    for handler in handlers:
        root.removeHandler(handler)
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, told)
        for handler in list(root.handlers):
            root.removeHandler(handler)
            handler.close()
        for handler in handlers:
            root.addHandler(handler)
        root.setLevel(level)


@pytest.fixture
def failshut(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], tmp_path: Path) -> Failshut:
    """Call `failshut ARGUMENTS` in this process, in an empty folder and without FAILSHUT_ variables."""
    monkeypatch.chdir(tmp_path)
    for name in ("STORE", "BROKER", "JWKS", "STATE", "PREFIX", "OPERATOR_KEY", "INSTALLATION"):
        monkeypatch.delenv(f"FAILSHUT_{name}", raising=False)

    def run(*arguments: object) -> Ended:
        monkeypatch.setattr(sys, "argv", ["failshut", *map(str, arguments)])
        with pytest.raises(SystemExit) as ended, as_it_was():
            main()
        said = capsys.readouterr()
        return Ended(int(ended.value.code or 0), said.out, said.err)

    return run
