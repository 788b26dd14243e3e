"""Witnesses of others: litewitness cosigns our ledger and refuses its fork, and torchwood verifies what our witness signs.

outside/witness/ names the modules. Without Go, ssh-agent or the modules these tests skip and say so.
"""

from __future__ import annotations

import base64
import hashlib
import re
import shutil
import socket
import sqlite3
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat
from ledger.test_witness_asking import asking, policy_of, write
from ledger.witness_support import Answered, make_witness, request, running, until
from ledger.writing import KEY
from patience import patient

from failshut_ledger.disk.files import COSIGNED, FORK
from failshut_ledger.disk.writer import create_ledger
from failshut_ledger.merkle.hashing import EMPTY_ROOT
from failshut_ledger.notes.keys import COSIGNATURE, Signer

SOURCE = Path(__file__).parent / "outside" / "witness"
NAME = "lite.example/witness"
LITEWITNESS = "filippo.io/torchwood/cmd/litewitness"
#: What Go says where a module, or a Go that is new enough, cannot be had.
NOT_HERE = ("dial tcp", "403 Forbidden", "404 Not Found", "i/o timeout", "requires go >=", "toolchain not available")

pytestmark = [pytest.mark.slow, pytest.mark.timeout(patient(900))]


@pytest.fixture(scope="module")
def programs(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with litewitness, and with our caller of torchwood."""
    for needed in ("go", "ssh-agent", "ssh-add"):
        if shutil.which(needed) is None:
            pytest.skip(f"{needed} is not installed here: what other witnesses say of a ledger is not tried")
    folder = tmp_path_factory.mktemp("witness")
    command = ["go", "build", "-mod=readonly", "-o", f"{folder}/", ".", LITEWITNESS]
    built = subprocess.run(command, cwd=SOURCE, capture_output=True, text=True, timeout=patient(800))
    if built.returncode and any(words in built.stderr for words in NOT_HERE):
        pytest.skip("litewitness cannot be had here")
    assert built.returncode == 0, built.stderr
    return folder


@contextmanager
def litewitness(programs: Path, folder: Path, private: Ed25519PrivateKey, port: int = 0) -> Iterator[tuple[str, int]]:
    """A litewitness that knows our log, with its key in an agent of its own. Yields its address and port."""
    folder.mkdir(exist_ok=True)
    agent_socket, key = folder / "agent", folder / "key"
    key.write_bytes(private.private_bytes(Encoding.PEM, PrivateFormat.OpenSSH, NoEncryption()))
    key.chmod(0o600)
    if not port:
        with socket.create_server(("127.0.0.1", 0)) as free:
            port = free.getsockname()[1]
    fingerprint = hashlib.sha256(private.public_key().public_bytes_raw()).hexdigest()
    agent = subprocess.Popen(["ssh-agent", "-D", "-a", str(agent_socket)], stdout=subprocess.DEVNULL)
    process = None
    try:
        until(agent_socket.exists, "the agent listens")
        subprocess.run(["ssh-add", "-q", str(key)], env={"SSH_AUTH_SOCK": str(agent_socket)}, check=True, timeout=patient(30))
        options = ["-db", "w.db", "-name", NAME, "-ssh-agent", str(agent_socket), "-key", fingerprint]
        process = subprocess.Popen(
            [str(programs / "litewitness"), *options, "-listen", f"127.0.0.1:{port}"], cwd=folder, stderr=subprocess.DEVNULL
        )
        until(lambda: _listens(port), "litewitness listens", 60)
        with sqlite3.connect(folder / "w.db") as database:
            empty = base64.b64encode(EMPTY_ROOT).decode()
            database.execute("INSERT OR IGNORE INTO log VALUES (?, 0, ?)", (KEY.verifier.name, empty))
            database.execute("INSERT INTO key VALUES (?, ?)", (KEY.verifier.name, str(KEY.verifier)))
        database.close()
        yield f"http://127.0.0.1:{port}", port
    finally:
        for one in (process, agent):
            if one is not None:
                one.kill()
                one.wait(patient(30))


def _listens(port: int) -> bool:
    try:
        socket.create_connection(("127.0.0.1", port), 1).close()
    except OSError:
        return False
    return True


def test_litewitness_cosigns_and_refuses_a_fork(programs: Path, tmp_path: Path) -> None:
    """It follows our proofs, and disputes a ledger that was rolled back or rewritten. It shows nothing, so it is doubted."""
    folder, private = tmp_path / "ledger", Ed25519PrivateKey.generate()
    create_ledger(folder, KEY)
    write(folder, 5)
    signer = Signer(NAME, private, COSIGNATURE)
    with litewitness(programs, tmp_path / "lite", private) as (address, _):
        trust = policy_of([address], 1, [signer])
        with asking(folder, trust) as asked:
            for size in (5, 6, 255, 256, 257, 700):
                write(folder, size)
                until(lambda size=size: asked.cosigned() == (size, {"w0"}), f"{size} are cosigned")  # type: ignore[misc]
        yesterday = tmp_path / "yesterday"
        create_ledger(yesterday, KEY)
        write(yesterday, 5)
        with asking(yesterday, trust) as asked:
            until(lambda: asked.word() == "disputes", "it is disputed: the witness knows more")
            assert asked.cosigned() == (0, set())
        write(yesterday, 800, "another")
        with asking(yesterday, trust) as asked:
            until(lambda: asked.word() == "disputes", "it is disputed: the witness knows other leaves")
        assert not (yesterday / COSIGNED).exists()
        assert not (yesterday / FORK).exists()


def test_both_witnesses_answer_alike(programs: Path, tmp_path: Path) -> None:
    """Ours and litewitness have the same status for the same request, one after another, and the same 409.

    A log that it does not know gets 403 from that version of litewitness, as older drafts of the protocol had it, and 404 here.
    """
    make_witness(tmp_path / "own", signer := Signer.generate("own.example", COSIGNATURE))
    with (
        litewitness(programs, tmp_path / "lite", Ed25519PrivateKey.generate()) as (_, port),
        running(tmp_path / "own", signer) as own,
    ):
        stranger = Signer.generate(KEY.verifier.name)
        sizes = [(3, 5), (0, 5), (0, 5), (5, 5), (5, 4), (5, 300), (5, 301), (300, 301), (301, 301)]
        bodies = [request(*one) for one in sizes]
        bodies[6:6] = [request(300, 301, "fork"), request(300, 300, "fork")]
        for body in (*bodies, b"x", request(301, 302, key=stranger), request(301, 302)):
            theirs, ours = Answered(port, body), own.ask(body)
            assert (ours.status, ours.kind if ours.status == 409 else "") == (
                theirs.status,
                theirs.kind if theirs.status == 409 else "",
            ), body
            if ours.status == 409:
                assert ours.body == theirs.body


def test_torchwood_verifies_what_our_witness_signs(programs: Path, tmp_path: Path) -> None:
    """A published checkpoint holds the log's signature and each witness's; a changed byte of any is refused."""
    folder, witness = tmp_path / "ledger", Signer.generate("own.example/w", COSIGNATURE)
    create_ledger(folder, KEY)
    write(folder, 300)
    make_witness(tmp_path / "own", witness)
    with running(tmp_path / "own", witness) as own, asking(folder, policy_of([own.url], 1, [witness])) as asked:
        until(lambda: asked.cosigned()[0] == 300, "it is cosigned")
    secret = base64.b64decode(re.split(r"\+", witness.secret(), maxsplit=4)[4])[1:]
    command = [str(programs / "witness"), str(folder / COSIGNED), str(KEY.verifier), f"own.example/w={secret.hex()}"]

    def says() -> tuple[int, str]:
        ended = subprocess.run(command, capture_output=True, text=True, timeout=patient(60))
        return ended.returncode, ended.stdout.strip()

    assert says() == (0, "300")
    good = (folder / COSIGNED).read_bytes()
    for at in (len(KEY.verifier.name) + 2, good.index(b"\n\n") + 60, len(good) - 30):
        (folder / COSIGNED).write_bytes(good[:at] + (b"A" if good[at : at + 1] != b"A" else b"B") + good[at + 1 :])
        assert says()[0] == 1
