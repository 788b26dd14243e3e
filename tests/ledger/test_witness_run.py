"""Real witness processes: killed, started again, started twice, with a damaged folder, and asked what they should not be."""

from __future__ import annotations

import http.client
import json
import random
import signal
import socket
import subprocess
import sys
import threading
from collections.abc import MutableMapping
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest
from console.console_support import Failshut
from ledger.plain import mth
from ledger.witness_support import WITNESS, Answered, checkpoint, make_witness, request, running, tree
from ledger.writing import KEY
from patience import patient

from failshut_console.witness.service import WitnessService
from failshut_ledger.disk.files import Files
from failshut_ledger.disk.witness_state import WitnessState, create_witness, open_witness, read_witness
from failshut_ledger.errors import AlreadyThere, AlreadyWritten, Damaged, DiskFailed
from failshut_ledger.notes.checkpoint import open_checkpoint
from failshut_ledger.notes.keys import Signer
from failshut_ledger.notes.note import open_note
from failshut_ledger.witness.request import REQUEST_BYTES_MAX, origin_hash

SHOW = f"/{origin_hash(KEY.verifier.name)}/checkpoint"
SEED = random.SystemRandom().randrange(2**32)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    made = tmp_path / "witness"
    make_witness(made, WITNESS)
    return made


@pytest.mark.slow
def test_a_witness_cosigns_and_remembers(folder: Path) -> None:
    """Over a restart and over SIGKILL it knows the last tree, shows it, and cosigns no other."""
    with running(folder) as witness:
        assert Answered(witness.port, b"", SHOW, "GET").status == 404
        answered = witness.ask(request(0, 5))
        assert (answered.status, answered.kind) == (200, "text/plain; charset=utf-8")
        note = open_note(checkpoint(5).split(b"\n\n")[0] + b"\n\n" + answered.body, [WITNESS.verifier])
        assert note.time_of(WITNESS.verifier) > 1_700_000_000
        assert witness.end() == 0
    with running(folder) as witness:
        stale = witness.ask(request(0, 7))
        assert (stale.status, stale.body, stale.kind) == (409, b"5\n", "text/x.tlog.size")
        assert witness.ask(request(5, 7, "fork")).status == 422
        assert witness.ask(request(5, 7)).status == 200
        witness.end(signal.SIGKILL)
    with running(folder) as witness:
        assert witness.ask(request(5, 8)).body == b"7\n"
        shown = Answered(witness.port, b"", SHOW, "GET")
        found, note = open_checkpoint(shown.body, [KEY.verifier], [WITNESS.verifier])
        assert (found.size, found.root, len(note.verified)) == (7, mth(tree(7)), 2)
        assert witness.ask(request(0, 1, key=Signer.generate("b.example"))).status == 404
        assert witness.ask(request(7, 9, key=Signer.generate(KEY.verifier.name))).status == 403
        assert witness.ask(b"x").status == 400


@pytest.mark.slow
def test_what_strangers_send_is_bounded(folder: Path) -> None:
    """Other paths, other methods, a body that is too long, and one that never ends: the next request is answered."""
    with running(folder) as witness:
        assert Answered(witness.port, b"", "/", "GET").status == 404
        assert Answered(witness.port, request(0, 1), "/add-checkpoint", "PUT").status == 404
        assert Answered(witness.port, b"", f"/{'0' * 64}/checkpoint", "GET").status == 404
        assert Answered(witness.port, b"", "/../../checkpoint", "GET").status == 404
        assert witness.ask(b"old 0\n" + b"A" * REQUEST_BYTES_MAX).status == 400
        with socket.create_connection(("127.0.0.1", witness.port)) as slow:
            slow.sendall(b"POST /add-checkpoint HTTP/1.1\r\nHost: w\r\nContent-Length: 1000\r\n\r\nold 0\n")
            assert witness.ask(request(0, 3)).status == 200
        assert witness.ask(request(3, 4)).status == 200


@pytest.mark.slow
def test_a_state_has_one_process(folder: Path) -> None:
    """A second one on the same folder is refused, and so is `witness add` beside the first."""
    with running(folder) as witness:
        command = [sys.executable, "-m", "failshut_console", "witness", "run", str(folder), "--key", str(witness.key)]
        second = subprocess.run([*command, "--bind", "127.0.0.1:0"], capture_output=True, text=True, timeout=patient(60))
        assert (second.returncode, "another process is the witness" in second.stderr) == (1, True), second
        with pytest.raises(AlreadyWritten), open_witness(folder, [WITNESS.verifier]):
            pass
        assert witness.ask(request(0, 2)).status == 200


@pytest.mark.slow
def test_two_that_race_cannot_both_be_cosigned(folder: Path) -> None:
    """Of two trees that continue the same one and not each other, one is cosigned."""
    with running(folder) as witness:
        assert witness.ask(request(0, 4)).status == 200
        size = 4
        for _ in range(10):
            bodies = [request(size, size + 2), request(size, size + 1)]
            with ThreadPoolExecutor(2) as pool:
                found = [(answer.status, at) for at, answer in enumerate(pool.map(witness.ask, bodies))]
            assert sorted(status for status, _ in found) == [200, 409], found
            size += next(2 - at for status, at in found if status == 200)
        assert read_witness(folder, [WITNESS.verifier])[KEY.verifier.name].last is not None


@pytest.mark.slow
@pytest.mark.timeout(patient(240))
def test_a_killed_witness_forgets_nothing_that_it_said(folder: Path) -> None:
    """Killed while it is asked, again and again: what it cosigned is what it knows, or what came right behind it."""
    chance, size = random.Random(SEED), 0
    for number in range(6):
        with running(folder) as witness:
            # Also in the first rounds: what it was killed over may be known to it, though nobody was answered.
            known = int(witness.ask(request(300, 300)).body or b"0") if number else 0
            assert known >= size, f"seed {SEED}, round {number}: it said {size} and knows {known}"
            size = known
            killing = threading.Timer(chance.uniform(0.0, 0.15), witness.end, (signal.SIGKILL,))
            killing.start()
            try:
                while size < 290:
                    answered = witness.ask(request(size, size + 1))
                    assert answered.status == 200, f"seed {SEED}, round {number}: {answered.body!r}"
                    size += 1
            except (OSError, http.client.HTTPException):
                pass  # it was killed
            killing.join()
    assert size


def test_a_damaged_state_begins_nothing_anew(folder: Path) -> None:
    """A tree that is gone, changed, of another witness or another log, and keys that are gone: refused by its name."""
    log = folder / "logs" / origin_hash(KEY.verifier.name)
    with running(folder) as witness:
        assert witness.ask(request(0, 5)).status == 200
    good, keys = (log / "checkpoint").read_bytes(), (log / "keys").read_bytes()
    other = Signer.generate("witness.example/w1", 4)
    for name, data in (("checkpoint", None), ("checkpoint", b""), ("checkpoint", checkpoint(5)), ("checkpoint", good[:-9]),
                       ("checkpoint", good.replace(b"\n5\n", b"\n3\n")), ("keys", None), ("keys", b""),
                       ("keys", f"{Signer.generate('b').verifier}\n".encode())):  # fmt: skip
        if data is None:
            (log / name).unlink()
        else:
            (log / name).write_bytes(data)
        with pytest.raises(Damaged):
            read_witness(folder, [WITNESS.verifier])
        (log / "checkpoint").write_bytes(good)
        (log / "keys").write_bytes(keys)
    with pytest.raises(Damaged):
        read_witness(folder, [other.verifier])
    assert read_witness(folder, [WITNESS.verifier])[KEY.verifier.name].last is not None


def test_a_log_that_was_never_wholly_added_is_none(folder: Path) -> None:
    """`witness add` was killed before the keys were written: nothing was cosigned, and the log can be added again."""
    new = Signer.generate("b.example")
    half = folder / "logs" / origin_hash("b.example")
    half.mkdir()
    (half / "checkpoint").write_bytes(b"none\n")
    with open_witness(folder, [WITNESS.verifier]) as state:
        assert set(state.logs) == {KEY.verifier.name}
        assert state.add(new.verifier)
        assert not state.add(new.verifier)
    assert set(read_witness(folder, [WITNESS.verifier])) == {KEY.verifier.name, "b.example"}


class FailingFiles(Files):
    """A disk that refuses one change of a checkpoint: before it is applied, or although it was."""

    how = ""

    def write(self, path: str, data: bytes) -> None:
        if self.how == "failed":
            raise DiskFailed("full")
        super().write(path, data)

    def settle(self) -> None:
        if self.how == "failed but applied":
            raise DiskFailed("the disk fails")
        super().settle()


@pytest.mark.parametrize("how", ["failed", "failed but applied"])
async def test_a_disk_that_fails_cosigns_nothing(folder: Path, how: str) -> None:
    """The answer is an error without a cosignature; afterwards the disk says what is known, and nothing else."""
    files = FailingFiles(folder)
    service = WitnessService(WitnessState(files, [WITNESS.verifier]), [WITNESS])

    async def ask(body: bytes) -> tuple[int, bytes]:
        sent: list[MutableMapping[str, Any]] = []

        async def receive() -> dict[str, Any]:
            return {"type": "http.request", "body": body}

        async def send(message: MutableMapping[str, Any]) -> None:
            sent.append(message)

        await service({"type": "http", "method": "POST", "path": "/add-checkpoint"}, receive, send)
        return sent[0]["status"], sent[1]["body"]

    assert (await ask(request(0, 4)))[0] == 200
    files.how = how
    status, body = await ask(request(4, 6))
    assert (status, b"\xe2\x80\x94" in body) == (500, False)
    files.how = ""
    known = 6 if how == "failed but applied" else 4
    assert await ask(request(1, 6)) == (409, f"{known}\n".encode())
    assert (await ask(request(known, 7)))[0] == 200
    service.close()


def test_the_commands_of_a_witness(failshut: Failshut, tmp_path: Path) -> None:
    """Made once, with a key of its own kind; a log is added by its line or its file, and listed."""
    made = failshut("witness", "create", "w", "--key", "w.key", "--name", "witness.example/w2")
    assert (made.status, made.err) == (0, "")
    assert made.out == (tmp_path / "w.key.pub").read_text()
    assert failshut("witness", "create", "w", "--key", "w.key").status == 1
    (tmp_path / "log.pub").write_text(f"{KEY.verifier}\n")
    assert failshut("witness", "add", "w", "log.pub", "--key", "w.key").out == "added\n"
    assert failshut("witness", "add", "w", KEY.verifier, "--key", "w.key").out == "known already\n"
    assert failshut("witness", "add", "w", made.out.strip(), "--key", "w.key").status == 2
    assert failshut("witness", "list", "w", "--key", "w.key").out == f"{KEY.verifier.name}: nothing yet\n"
    said = json.loads(failshut("witness", "list", "w", "--key", "w.key", "--json").out)
    assert said == [{"origin": KEY.verifier.name, "keys": [str(KEY.verifier)], "size": None, "root": None}]
    failshut("ledger", "create", "l", "--key", "l.key", "--name", "l.example")
    wrong = failshut("witness", "run", "w", "--key", "l.key")
    assert (wrong.status, "no witness's key" in wrong.err) == (2, True)
    assert failshut("witness", "run", "nowhere", "--key", "w.key").status == 1
    assert failshut("witness", "run", "w", "--key", "w.key", "--bind", "nonsense").status == 2
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        assert failshut("witness", "run", "w", "--key", "w.key", "--bind", f"127.0.0.1:{port}").status == 2


def test_the_folder_is_made_once(folder: Path) -> None:
    """A witness that starts anew would cosign a fork."""
    with pytest.raises(AlreadyThere):
        create_witness(folder)
