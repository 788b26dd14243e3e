"""What the tests of witnesses share: keys, trees of numbered leaves, requests, and real `failshut witness run` processes."""

from __future__ import annotations

import http.client
import os
import re
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

from ledger.plain import mth, numbered, proof
from ledger.writing import KEY
from patience import patient

from failshut_ledger.disk.witness_state import create_witness, open_witness
from failshut_ledger.notes.checkpoint import Checkpoint
from failshut_ledger.notes.keys import COSIGNATURE, Signer
from failshut_ledger.notes.note import sign_note
from failshut_ledger.witness.request import ADD_PATH, Request

WITNESS = Signer.generate("witness.example/w1", COSIGNATURE)


def tree(size: int, fork: str = "") -> list[bytes]:
    """So many leaves; those of a fork differ from the third on."""
    return [leaf if not fork or at < 2 else leaf + fork.encode() for at, leaf in enumerate(numbered(size))]


def checkpoint(size: int, fork: str = "", key: Signer = KEY, *extensions: str) -> bytes:
    """The signed checkpoint of a tree."""
    return sign_note(Checkpoint(key.verifier.name, size, mth(tree(size, fork)), extensions).text, [key])


def request(old: int, size: int, fork: str = "", key: Signer = KEY) -> bytes:
    """The body that asks to cosign a tree which continues one of `old` leaves, by a second reading of RFC 6962."""
    hashes = proof(old, tree(size, fork)) if 0 < old < size else []
    return Request(old, tuple(hashes), checkpoint(size, fork, key)).data


def until(claim: Callable[[], object], what: str, seconds: float = 30) -> None:
    end = time.monotonic() + patient(seconds)
    while not claim():
        assert time.monotonic() < end, what
        time.sleep(0.02)


class Answered:
    """What a witness answered."""

    def __init__(self, port: int, body: bytes, path: str = ADD_PATH, method: str = "POST") -> None:
        connection = http.client.HTTPConnection("127.0.0.1", port, timeout=patient(20))
        try:
            connection.request(method, path, body)
            reply = connection.getresponse()
            self.status, self.body, self.kind = reply.status, reply.read(), reply.getheader("content-type")
        finally:
            connection.close()


class RunningWitness:
    """A `failshut witness run` of its own."""

    def __init__(self, folder: Path, signer: Signer, port: int = 0, *options: str) -> None:
        self.folder, self.signer, self.said = folder, signer, ""
        self.key = folder.with_name(f"{folder.name}.key")
        self.key.write_text(f"{signer.secret()}\n")
        command = [sys.executable, "-m", "failshut_console", "witness", "run", str(folder), "--key", str(self.key)]
        self.process = subprocess.Popen(
            [*command, "--bind", f"127.0.0.1:{port}", *options], stderr=subprocess.PIPE, stdout=subprocess.DEVNULL, text=True
        )
        self._reader = threading.Thread(target=self._read, daemon=True)
        self._reader.start()
        until(lambda: self._port() or self.process.poll() is not None, "the witness listens", 60)
        assert self.process.poll() is None, self.said
        self.port = self._port()

    @property
    def url(self) -> str:
        """Its address, as it says itself."""
        found = re.search(r"answers at (\S+) ", self.said)
        return found[1] if found else ""

    def ask(self, body: bytes) -> Answered:
        return Answered(self.port, body)

    def end(self, how: int = signal.SIGTERM) -> int:
        if self.process.poll() is None:
            os.kill(self.process.pid, signal.SIGCONT)
            os.kill(self.process.pid, how)
        status = self.process.wait(patient(30))
        self._reader.join(patient(10))
        return status

    def _port(self) -> int:
        found = re.search(r"answers at \S+:(\d+) ", self.said)
        return int(found[1]) if found else 0

    def _read(self) -> None:
        assert self.process.stderr is not None
        for line in self.process.stderr:
            self.said += line


def make_witness(folder: Path, signer: Signer, *logs: Signer) -> None:
    """Make the folder of a witness that knows these logs."""
    create_witness(folder)
    with open_witness(folder, [signer.verifier]) as state:
        for log in logs or (KEY,):
            state.add(log.verifier)


@contextmanager
def running(folder: Path, signer: Signer = WITNESS, port: int = 0, *options: str) -> Iterator[RunningWitness]:
    """A witness process, ended at the end."""
    witness = RunningWitness(folder, signer, port, *options)
    try:
        yield witness
    finally:
        witness.end(signal.SIGKILL)
