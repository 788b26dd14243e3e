"""A ledger is cosigned by real witness processes; those that are down, slow or lying hold up nobody."""

from __future__ import annotations

import json
import os
import shutil
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any

import pytest
from console.console_support import Failshut
from gateway.identity_support import Authority
from ledger.liars import another_key, another_root, dated, late, line, lying, reply, shouts, text_of, trickles, trickles_headers
from ledger.plain import numbered
from ledger.witness_support import checkpoint, make_witness, running, until
from ledger.writing import KEY, on_disk, position
from patience import patient

from failshut_console.ledger.cosigning import Cosigner
from failshut_ledger.disk.cosigned import open_cosigned, read_heard
from failshut_ledger.disk.files import COSIGNED, FORK, Files
from failshut_ledger.disk.proving import prove_leaf
from failshut_ledger.disk.writer import create_ledger, open_ledger
from failshut_ledger.errors import AlreadyThere, AlreadyWritten, Damaged, Forked, LedgerError
from failshut_ledger.notes.cosignature import cosign
from failshut_ledger.notes.keys import COSIGNATURE, Signer
from failshut_ledger.notes.note import Signature
from failshut_ledger.notes.policy import Policy, parse_policy
from failshut_ledger.verdict import examine
from failshut_ledger.witness.collecting import joined_note

pytestmark = pytest.mark.slow

W = [Signer.generate(f"witness.example/{number}", COSIGNATURE) for number in range(3)]


def write(folder: Path, size: int, fork: str = "") -> None:
    """Let the ledger have so many leaves; those of a fork are others."""
    with open_ledger(folder, KEY) as writer:
        at = writer.checkpoint.size
        writer.append([leaf + fork.encode() for leaf in numbered(size)[at:]], position(size))


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    create_ledger(tmp_path / "ledger", KEY)
    write(tmp_path / "ledger", 5)
    return tmp_path / "ledger"


def policy_of(addresses: list[str], at_least: int, signers: list[Signer] = W) -> bytes:
    names = [f"w{number}" for number in range(len(addresses))]
    lines = [f"witness {name} {signers[at].verifier} {addresses[at]}" for at, name in enumerate(names)]
    return "\n".join([f"log {KEY.verifier}", *lines, f"group q {at_least} {' '.join(names)}", "quorum q\n"]).encode()


class Asking:
    """A cosigner that runs in a thread; `error` is what ended it."""

    def __init__(self, folder: Path, policy: bytes, **more: Any) -> None:
        self.folder, self.policy = folder, parse_policy(policy)
        self.error: LedgerError | None = None
        self.stop = threading.Event()
        settings = {"every_seconds": 0.05, "answer_seconds_max": 1.0, **more}
        self.cosigner = Cosigner(folder, self.policy, **settings)
        self.thread = threading.Thread(target=self._run, daemon=True)
        self.thread.start()

    def _run(self) -> None:
        try:
            self.cosigner.run(self.stop)
        except LedgerError as error:
            self.error = error

    def end(self) -> None:
        self.stop.set()
        self.thread.join(patient(30))
        assert not self.thread.is_alive()

    def ended(self) -> LedgerError:
        until(lambda: not self.thread.is_alive(), "asking has ended")
        assert self.error is not None
        return self.error

    def cosigned(self) -> tuple[int, set[str]]:
        """How many leaves are cosigned, and by whom."""
        found = open_cosigned(Files(self.folder), self.policy)
        if found is None:
            return 0, set()
        return found[0].size, {name for name, one in self.policy.witnesses.items() if one in found[1].verified}

    def word(self, name: str = "w0") -> str:
        return str(read_heard(Files(self.folder)).get(name, {}).get("word", ""))


@contextmanager
def asking(folder: Path, policy: bytes, **more: Any) -> Iterator[Asking]:
    one = Asking(folder, policy, **more)
    try:
        yield one
    finally:
        one.end()


@contextmanager
def witnesses(tmp_path: Path, count: int) -> Iterator[list[Any]]:
    """So many real witnesses of the ledger."""
    with ExitStack() as stack:
        for number in range(count):
            make_witness(tmp_path / f"w{number}", W[number])
        yield [stack.enter_context(running(tmp_path / f"w{number}", W[number])) for number in range(count)]


def test_two_witnesses_cosign_what_is_written(folder: Path, tmp_path: Path, failshut: Failshut) -> None:
    """Each checkpoint's cosignatures are published, and a proof carries them to whoever asks for both."""
    with witnesses(tmp_path, 2) as (one, two):
        trust = policy_of([one.url, two.url], 2)
        with asking(folder, trust) as asked:
            until(lambda: asked.cosigned() == (5, {"w0", "w1"}), "both have cosigned")
            for size in (6, 300, 700):
                write(folder, size)
                until(lambda size=size: asked.cosigned() == (size, {"w0", "w1"}), f"{size} are cosigned")  # type: ignore[misc]
            until(lambda: asked.word() == "cosigned", "that is told")
            with pytest.raises(AlreadyWritten):
                Cosigner(folder, parse_policy(trust)).run(threading.Event())
    proof = prove_leaf(Files(folder), 299)
    checks = {check.name: check.passed for check in examine(proof.data, parse_policy(trust)).checks}
    assert (checks["checkpoint"], checks["witnesses"], checks["inclusion"]) == (True, True, True)
    write(folder, 701)
    late = {check.name: check.passed for check in examine(prove_leaf(Files(folder), 700).data, parse_policy(trust)).checks}
    assert (late["checkpoint"], late["witnesses"]) == (True, False)
    with asking(folder, trust) as asked:
        until(lambda: asked.word() == "unheard", "nobody is there")
        assert asked.cosigned() == (700, {"w0", "w1"})
    for index, words in ((699, ""), (700, "without cosignatures: witnesses have cosigned 700 leaves")):
        told = failshut("proof", index, "--ledger", folder, "-o", "p")
        assert (told.status, words in told.out, len(told.out.splitlines())) == (0, True, 2 if words else 1)


def test_a_ledger_is_not_begun_where_one_was_cosigned(folder: Path) -> None:
    """Its checkpoint and tiles are gone, and what witnesses know of it is there."""
    (folder / COSIGNED).write_bytes((folder / "checkpoint").read_bytes())
    (folder / "checkpoint").unlink()
    shutil.rmtree(folder / "tile")
    with pytest.raises(AlreadyThere):
        create_ledger(folder, KEY)


def test_who_is_down_slow_or_comes_late_holds_up_nobody(folder: Path, tmp_path: Path) -> None:
    """Two of three are enough; the third is stopped, killed, and started again, and joins."""
    with witnesses(tmp_path, 3) as found:
        trust = policy_of([one.url for one in found], 2)
        with asking(folder, trust) as asked:
            until(lambda: asked.cosigned()[1] == {"w0", "w1", "w2"}, "all have cosigned")
            os.kill(found[2].process.pid, signal.SIGSTOP)
            for size in range(6, 12):
                write(folder, size)
                until(lambda size=size: asked.cosigned() == (size, {"w0", "w1"}), f"{size} are cosigned")  # type: ignore[misc]
            until(lambda: asked.word("w2") == "unheard", "the third does not answer")
            found[2].end(signal.SIGKILL)
            write(folder, 13)
            until(lambda: asked.cosigned() == (13, {"w0", "w1"}), "they go on")
            with running(tmp_path / "w2", W[2], found[2].port):
                until(lambda: asked.cosigned() == (13, {"w0", "w1", "w2"}), "the third joins, although nothing is written", 90)


def test_without_a_quorum_nothing_is_published(folder: Path, tmp_path: Path) -> None:
    """The former one stays, and nobody waits for it to be written."""
    with witnesses(tmp_path, 2) as (one, two), asking(folder, policy_of([one.url, two.url], 2)) as asked:
        until(lambda: asked.cosigned()[0] == 5, "both have cosigned")
        two.end(signal.SIGKILL)
        write(folder, 9)
        until(lambda: asked.word("w1") == "unheard", "one is gone")
        write(folder, 12)
        until(lambda: "12 leaves" not in (asked.word(),) and on_disk(folder).size == 12, "writing goes on")
        assert asked.cosigned()[0] == 5


def test_cosignatures_are_made_fresh(folder: Path, tmp_path: Path) -> None:
    """A ledger that does not grow is cosigned again."""
    with witnesses(tmp_path, 1) as (one,), asking(folder, policy_of([one.url], 1), refresh_seconds=0.5):
        until(lambda: (folder / COSIGNED).exists(), "it is cosigned")
        before = (folder / COSIGNED).read_bytes()
        until(lambda: (folder / COSIGNED).read_bytes() != before, "it is cosigned again")
        assert (folder / COSIGNED).read_bytes().split(b"\n\n")[0] == before.split(b"\n\n")[0]


LIES: dict[str, tuple[Callable[[Signer], Any], str]] = {
    "another root": (another_root, "refused"),
    "another key": (another_key, "refused"),
    "garbage": (lambda _: lambda handler, body: reply(handler, 200, b"\xff\x00 garbage"), "refused"),
    "nothing": (lambda _: lambda handler, body: reply(handler, 200), "refused"),
    "from the future": (lambda signer: dated(signer, 3600), "refused"),
    "without a time": (lambda signer: dated(signer, -(10**11)), "refused"),
    "moved": (lambda _: lambda handler, body: reply(handler, 307, Location="http://127.0.0.1:1/x"), "unheard"),
    "in trouble": (lambda _: lambda handler, body: reply(handler, 503), "unheard"),
    "unknown log": (lambda _: lambda handler, body: reply(handler, 404), "refused"),
    "shouts": (lambda _: shouts, "unheard"),
    "trickles": (lambda _: trickles, "unheard"),
    "trickles headers": (lambda _: trickles_headers, "unheard"),
    "no size": (lambda _: lambda handler, body: reply(handler, 409, b"many\n"), "refused"),
    "always another size": (lambda _: lambda handler, body: reply(handler, 409, b"1\n"), "refused"),
    "ahead": (lambda _: lambda handler, body: reply(handler, 409, b"1000000\n"), "disputes"),
    "forked": (lambda _: lambda handler, body: reply(handler, 422), "disputes"),
}


def test_who_is_late_takes_nothing_newer_away(folder: Path, tmp_path: Path) -> None:
    """A cosignature of an older checkpoint comes when a newer one is published: that one stays."""
    with witnesses(tmp_path, 1) as (prompt,), lying(late(W[1], 0.6)) as address:
        trust = policy_of([prompt.url, address], 1)
        with asking(folder, trust) as asked:
            seen = [asked.cosigned()[0]]
            for size in range(6, 12):
                write(folder, size)
                until(lambda size=size: asked.cosigned()[0] == size, f"{size} are cosigned")  # type: ignore[misc]

            def grew() -> bool:
                seen.append(asked.cosigned()[0])
                return asked.cosigned() == (11, {"w0", "w1"})

            until(grew, "the late one has cosigned the last one")
            assert seen == sorted(seen)


def test_tiles_that_are_damaged_are_shown_to_nobody(folder: Path) -> None:
    """That is said of the ledger, and not of a witness: none is asked."""
    asked_for: list[str] = []
    tile = next((folder / "tile/0").rglob("5"))
    tile.write_bytes(bytes(32) + tile.read_bytes()[32:])

    def hears(handler: Any, body: bytes) -> None:
        asked_for.append(handler.path)
        reply(handler, 422)

    with lying(hears) as address, asking(folder, policy_of([address], 1)) as asked:
        assert isinstance(asked.ended(), Damaged)
    assert not asked_for
    assert not (folder / FORK).exists()


@pytest.mark.parametrize("lie", LIES)
def test_a_lie_is_told_and_costs_the_others_nothing(folder: Path, tmp_path: Path, lie: str) -> None:
    """Nothing of a liar's is published, what it did is named, and the honest one's cosignatures go on."""
    make, word = LIES[lie]
    with witnesses(tmp_path, 1) as (honest,), lying(make(W[1])) as address:
        trust = policy_of([honest.url, address], 1)
        with asking(folder, trust) as asked:
            until(lambda: asked.word("w1") == word, f"it is told: {asked.word('w1')}")
            for size in (6, 7):
                write(folder, size)
                until(lambda size=size: asked.cosigned()[0] == size, f"{size} are cosigned")  # type: ignore[misc]
            assert asked.cosigned()[1] == {"w0"}
            assert asked.error is None
            assert not (folder / FORK).exists()


def test_what_a_liar_shows_is_no_fork_without_the_ledgers_own_signature(folder: Path) -> None:
    """Another's signature, garbage, and a checkpoint that the tree holds prove nothing."""
    for shows in (checkpoint(9, "x", Signer.generate(KEY.verifier.name)), b"garbage", checkpoint(3)):
        with (
            lying(lambda handler, body: reply(handler, 422), shows) as address,
            asking(folder, policy_of([address], 1)) as asked,
        ):
            until(lambda asked=asked: asked.word() == "disputes", "it is doubted")  # type: ignore[misc]
            assert not (folder / FORK).exists()


def test_a_rolled_back_ledger_is_a_fork(folder: Path, tmp_path: Path, failshut: Failshut) -> None:
    """The witness shows what the ledger had signed: nobody is asked, nothing is written, until the ledger is back."""
    shutil.copytree(folder, tmp_path / "yesterday")
    trust = tmp_path / "trust.policy"
    with witnesses(tmp_path, 1) as (one,):
        trust.write_bytes(policy_of([one.url], 1))
        with asking(folder, trust.read_bytes()) as asked:
            write(folder, 9)
            until(lambda: asked.cosigned()[0] == 9, "it is cosigned")
        folder.rename(tmp_path / "today")
        shutil.copytree(tmp_path / "yesterday", folder)
        with asking(folder, trust.read_bytes()) as asked:
            error = asked.ended()
        assert isinstance(error, Forked)
        assert "rolled back" in str(error)
        with pytest.raises(Forked):
            write(folder, 6)
        status = failshut("ledger", "status", folder, "--policy", trust)
        assert (status.status, status.out.startswith("FORK")) == (1, True)
        ended = failshut("ledger", "cosign", folder, "--witnesses", trust)
        assert (ended.status, "another tree" in ended.err) == (1, True)
        shutil.copy(folder / FORK, tmp_path / "today" / FORK)
        shutil.rmtree(folder)
        (tmp_path / "today").rename(folder)
        write(folder, 10)
        assert not (folder / FORK).exists()
        with asking(folder, trust.read_bytes()) as asked:
            until(lambda: asked.cosigned()[0] == 10, "it is cosigned again")


def test_a_ledger_that_was_written_on_from_yesterday_is_a_fork(folder: Path, tmp_path: Path) -> None:
    """It is longer than what the witness saw, and other leaves are in it: one witness with proof is enough."""
    shutil.copytree(folder, tmp_path / "yesterday")
    with witnesses(tmp_path, 2) as (one, two):
        with asking(folder, policy_of([one.url], 1)) as asked:
            write(folder, 9)
            until(lambda: asked.cosigned()[0] == 9, "it is cosigned")
        shutil.rmtree(folder)
        shutil.copytree(tmp_path / "yesterday", folder)
        write(folder, 12, "another")
        with open_ledger(folder, KEY) as writer:
            with asking(folder, policy_of([two.url, one.url], 1, [W[1], W[0]])) as asked:
                error = asked.ended()
            assert isinstance(error, Forked)
            assert "two trees" in str(error)
            with pytest.raises(Forked):  # also in the hands of a writer that was there before
                writer.append([b"x"], position(13))


def test_a_checkpoint_that_waits_for_its_writer_is_no_fork(folder: Path, tmp_path: Path) -> None:
    """Power was lost between its signing and its name: the witness has seen it, and the writer takes it up when it starts."""
    before = (folder / "checkpoint").read_bytes()
    with witnesses(tmp_path, 1) as (one,):
        trust = policy_of([one.url], 1)
        with asking(folder, trust) as asked:
            write(folder, 9)
            until(lambda: asked.cosigned()[0] == 9, "it is cosigned")
        (folder / "checkpoint").rename(folder / "checkpoint.next")
        (folder / "checkpoint").write_bytes(before)
        with asking(folder, trust) as asked:
            until(lambda: asked.word() == "forked", "the witness shows what waits")
            assert asked.error is None
            assert not (folder / FORK).exists()
            write(folder, 10)
            until(lambda: asked.cosigned()[0] == 10, "it goes on", 90)


def test_a_ledger_that_goes_back_under_our_eyes_is_a_fork(folder: Path, tmp_path: Path) -> None:
    """No witness is needed to see that, only the checkpoint that was there before."""
    shutil.copytree(folder, tmp_path / "yesterday")
    write(folder, 9)
    with asking(folder, policy_of(["http://127.0.0.1:1"], 1)) as asked:
        until(lambda: asked.word() == "unheard", "it was asked for")
        os.replace(tmp_path / "yesterday/checkpoint", folder / "checkpoint")
        assert isinstance(asked.ended(), Forked)
    assert b"\n9\n" in (folder / FORK).read_bytes()


def test_the_commands_say_who_cosigned_and_when(folder: Path, tmp_path: Path, failshut: Failshut) -> None:
    """`ledger cosign` as a process; `status` and `verify` judge what it published, and refuse what is changed."""
    public, trust = str(KEY.verifier), tmp_path / "trust.policy"
    trust.write_bytes(policy_of(["http://127.0.0.1:1"], 1))
    assert failshut("ledger", "status", folder, "--policy", trust).status == 1
    with witnesses(tmp_path, 1) as (one,):
        trust.write_bytes(policy_of([one.url], 1))
        command = [sys.executable, "-m", "failshut_console", "ledger", "cosign", str(folder), "--witnesses", str(trust)]
        process = subprocess.Popen(command, stderr=subprocess.DEVNULL)
        try:
            until(lambda: (folder / COSIGNED).exists() and (folder / "witnesses.json").exists(), "it is cosigned", 60)
            second = subprocess.run(command, capture_output=True, text=True, timeout=patient(60))
            assert (second.returncode, "another process asks" in second.stderr) == (1, True)
        finally:
            process.terminate()
            assert process.wait(patient(30)) == 0
    shown = failshut("ledger", "status", folder, "--policy", trust)
    assert (shown.status, "5 of them cosigned, the quorum q is met" in shown.out) == (0, True), shown
    fresh, text = (folder / COSIGNED).read_bytes(), on_disk(folder).text
    aged = Signature(W[0].verifier.name, W[0].verifier.id, cosign(text, W[0], int(time.time()) - 1_000))
    (folder / COSIGNED).write_bytes(joined_note(fresh, [aged]))
    for seconds, status in ((2_000, 0), (900, 1)):
        assert failshut("ledger", "status", folder, "--policy", trust, "--younger-than", seconds).status == status
    (folder / COSIGNED).write_bytes(fresh)
    said = json.loads(failshut("ledger", "status", folder, "--policy", trust, "--json").out)
    assert (said["cosigned_size"], said["quorum_met"], said["witnesses"]["w0"]["said"]) == (5, True, "cosigned")
    good = (folder / COSIGNED).read_bytes()
    (folder / COSIGNED).write_bytes(good[:-20] + (b"AAAA" if good[-20:-16] != b"AAAA" else b"BBBB") + good[-16:])
    assert failshut("ledger", "status", folder, "--policy", trust).status == 1
    (folder / COSIGNED).write_bytes(good.replace(b"\n5\n", b"\n4\n"))
    assert failshut("ledger", "status", folder, "--policy", trust).status == 1
    (folder / COSIGNED).unlink()
    assert failshut("ledger", "status", folder, "--policy", trust).status == 1
    nobody = tmp_path / "nobody.policy"
    nobody.write_text(f"log {public}\nquorum none\n")
    assert failshut("ledger", "cosign", folder, "--witnesses", nobody).status == 2
    nobody.write_text(f"log {public}\nwitness a {W[0].verifier} ftp://x\nquorum a\n")
    assert failshut("ledger", "cosign", folder, "--witnesses", nobody).status == 2
    nobody.write_text(f"log {Signer.generate('b').verifier}\nwitness a {W[0].verifier} http://127.0.0.1:1\nquorum a\n")
    assert failshut("ledger", "cosign", folder, "--witnesses", nobody).status == 1


def test_a_witness_behind_tls_is_believed_by_its_authority_alone(folder: Path, tmp_path: Path) -> None:
    """With the authority of its certificate it is asked; without, it is not heard."""
    authority = Authority(tmp_path)
    cert, key = authority.certificate("server", "127.0.0.1")
    make_witness(tmp_path / "w", W[0])
    with running(tmp_path / "w", W[0], 0, "--tls-cert", str(cert), "--tls-key", str(key)) as one:
        assert one.url.startswith("https://")
        with asking(folder, policy_of([one.url], 1)) as asked:
            until(lambda: asked.word() == "unheard", "nobody vouches for it")
        with asking(folder, policy_of([one.url], 1), authority=str(authority.path)) as asked:
            until(lambda: asked.cosigned() == (5, {"w0"}), "it is cosigned")


def test_an_address_may_have_a_prefix(folder: Path) -> None:
    """Paths are put behind it, with one slash."""
    asked_for: list[str] = []

    def hears(handler: Any, body: bytes) -> None:
        asked_for.append(handler.path)
        reply(handler, 200, line(W[0], text_of(body)))

    for end in ("/for/us", "/for/us/"):
        with lying(hears) as address, asking(folder, policy_of([address + end], 1)) as asked:
            until(lambda asked=asked: asked.word() == "cosigned", "it is cosigned")  # type: ignore[misc]
    assert set(asked_for) == {"/for/us/add-checkpoint"}


def test_an_address_must_be_one() -> None:
    """No login, no query, nothing that is not printed."""
    for address in ("ftp://a", "http://u:p@a", "http://a/?x", "http://a/#x", "http://", "a.example", "http://a/\x7f"):
        with pytest.raises(ValueError, match="address"):
            Cosigner(Path(), Policy((), {"a": W[0].verifier}, {}, "a", {"a": address}))


def test_nobody_listens(folder: Path) -> None:
    """A port that takes connections and never answers is given up, and asked again later."""
    with socket.create_server(("127.0.0.1", 0)) as silent:
        url = f"http://127.0.0.1:{silent.getsockname()[1]}"
        began = time.monotonic()
        with asking(folder, policy_of([url], 1)) as asked:
            until(lambda: asked.word() == "unheard", "it is given up")
            write(folder, 6)
        assert time.monotonic() - began < patient(60)
