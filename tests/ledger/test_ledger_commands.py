"""The commands on a ledger, as an operator and an auditor type them."""

from __future__ import annotations

import json
import re
import stat
import time
from pathlib import Path

import pytest
from console.console_support import Failshut
from console.decisions import ADA, DRIFT, control, decision, encoded, refused
from ledger.writing import position
from patience import patient

from failshut_breakers.decisions.decision import Brief, Kind
from failshut_ledger.disk.cosigned import publish_cosigned
from failshut_ledger.disk.files import Files
from failshut_ledger.disk.writer import open_ledger
from failshut_ledger.leaves.envelope import sign_envelope
from failshut_ledger.leaves.statement import Record, begin_leaf, record_leaf
from failshut_ledger.notes.checkpoint import Checkpoint
from failshut_ledger.notes.cosignature import cosign
from failshut_ledger.notes.keys import COSIGNATURE, Signer
from failshut_ledger.notes.note import Signature, sign_note, split_note
from failshut_ledger.witness.collecting import joined_note

NAME = "ledger.example/payments"
EPOCH = (1 << 40) + 7


#: Lines of the page of a proof, in their order.
PAGE = [
    "d.tlog-proof: VERIFIED",
    "  gate        pay",
    "  what        closed (decision), breaker TRIPPED",
    "  when        2026-03-01T11:00:00.000Z (evidence time)",
    "  cause       drift: a series has drifted",
    "  because     mean 48 to 97",
    f"  epoch       {EPOCH:016}",
    f"  policy      sha256:{'0' * 64}",
    "  evidence    evidence, partition 0, offset 7",
    "  origin      telemetry, partition 0, offset 7, item 0",
    "  condition   drift:agent/amount demands: mean 48 \\x1b[2J to 97",
    "  passed    Is the leaf in that tree?",
]


@pytest.fixture
def folder(failshut: Failshut, tmp_path: Path) -> Path:
    """A ledger of four decisions, made by the command and written as the feed does."""
    made = failshut("ledger", "create", "ledger", "--key", "keys/ledger.key", "--name", NAME)
    assert (made.status, made.err) == (0, "")
    signer = Signer.parse((tmp_path / "keys/ledger.key").read_text().strip())
    assert made.out == f"{signer.verifier}\n" == (tmp_path / "keys/ledger.key.pub").read_text()
    closing = decision(Kind.CLOSE, 7, **DRIFT, readings=[Brief("drift:agent/amount", "demands", "mean 48 \x1b[2J to 97")])
    values = encoded(decision(Kind.OPEN, 3), closing, refused(9), decision(Kind.CLOSE, 12, by=f"{ADA}: x", origin=control(1)))
    leaves = [record_leaf(Record("decisions", 0, number, 1_000, value), signer) for number, value in enumerate(values)]
    with open_ledger(tmp_path / "ledger", signer) as writer:
        writer.append([begin_leaf(signer, position(0), 1_772_362_800_000), *leaves], position(4))
    (tmp_path / "trust.policy").write_text(f"log {signer.verifier}\nquorum none\n")
    return tmp_path / "ledger"


def test_a_ledger_is_created_once_with_its_key(failshut: Failshut, folder: Path) -> None:
    """The key is its owner's alone, is kept, and no ledger is begun over another."""
    key = folder.parent / "keys/ledger.key"
    assert stat.S_IMODE(key.stat().st_mode) == 0o600
    before = key.read_bytes()
    again = failshut("ledger", "create", folder, "--key", key)
    assert (again.status, key.read_bytes()) == (1, before)
    assert "fork" in again.err
    other = failshut("ledger", "create", "other", "--key", key, "--name", "another.example")
    assert (other.status, (folder.parent / "other").exists()) == (2, False)
    assert failshut("ledger", "create", "other", "--key", "new.key", "--name", "a name").status == 2
    assert not (folder.parent / "new.key").exists()
    assert failshut("ledger", "create", "other", "--key", key).status == 0


def test_a_whole_ledger_is_verified_with_its_public_key(failshut: Failshut, folder: Path) -> None:
    """By the key's line or its file; the counts say what is in it; another key verifies nothing."""
    public = folder.parent / "keys/ledger.key.pub"
    for key in (public, public.read_text().strip()):
        found = failshut("ledger", "verify", folder, "--key", key, "--json")
        assert (found.status, found.err) == (0, "")
        said = json.loads(found.out)
        assert (said["origin"], said["size"]) == (NAME, 5)
        assert said["leaves"] == {"command": 2, "decision": 2, "key": 1}
        assert said["position"]["offsets"] == {"0": 4}
    assert "VERIFIED" in failshut("ledger", "verify", folder, "--key", public).out
    other = failshut("ledger", "verify", folder, "--key", Signer.generate(NAME).verifier)
    assert (other.status, other.out) == (1, "")
    assert "leaf 0" in other.err
    assert failshut("ledger", "verify", folder, "--key", "nowhere.pub").status == 2
    assert failshut("ledger", "verify", folder.parent, "--key", public).status == 1


def test_damage_is_said_with_the_file(failshut: Failshut, folder: Path) -> None:
    """A changed byte in a bundle, a tile or the checkpoint ends with status 1 and its name."""
    public = folder.parent / "keys/ledger.key.pub"
    for path, words in (("tile/entries/000.p/5", "leaf 1"), ("tile/0/000.p/5", "tile/0/000.p/5"), ("checkpoint", "root")):
        good = (folder / path).read_bytes()
        at = good.index(b'payload":"', 3000) + 40 if "entries" in path else len(NAME) + 10
        (folder / path).write_bytes(good[:at] + bytes([good[at] ^ 1]) + good[at + 1 :])
        found = failshut("ledger", "verify", folder, "--key", public)
        assert (found.status, found.out) == (1, ""), path
        assert "leaf" in found.err or words in found.err
        (folder / path).write_bytes(good)
    assert failshut("ledger", "verify", folder, "--key", public).status == 0


def test_one_decision_is_proven_and_verified_offline(failshut: Failshut, folder: Path) -> None:
    """One file and a public key tell an auditor what was decided, why, on which evidence, and that it is on the ledger."""
    proven = failshut("proof", f"pay@{EPOCH}", "--ledger", folder, "-o", "d.tlog-proof")
    assert (proven.status, proven.out) == (0, "d.tlog-proof: leaf 2\n")
    found = failshut("verify", "d.tlog-proof", "--policy", "trust.policy")
    assert (found.status, found.err) == (0, "")
    assert [line for line in found.out.splitlines() if line in PAGE] == PAGE
    assert "\x1b" not in found.out
    said = json.loads(failshut("verify", "d.tlog-proof", "--policy", "trust.policy", "--json").out)
    assert said["verified"] is True
    assert said["predicate"]["evidence"] == {"topic": "evidence", "partition": 0, "offset": 7}
    assert [one["passed"] for one in said["checks"]] == [True] * 6


def test_a_proof_that_fails_tells_nothing_of_its_leaf(failshut: Failshut, folder: Path) -> None:
    """Status 1, the check that failed, and no word of what the file claims."""
    failshut("proof", "2", "--ledger", folder, "-o", "d.tlog-proof")
    path = folder.parent / "d.tlog-proof"
    path.write_text(path.read_text().replace("index 2", "index 1"))
    found = failshut("verify", "d.tlog-proof", "--policy", "trust.policy")
    assert found.status == 1
    assert "NOT VERIFIED" in found.out
    assert "FAILED    Is the leaf in that tree?" in found.out
    assert "TRIPPED" not in found.out
    said = json.loads(failshut("verify", "d.tlog-proof", "--policy", "trust.policy", "--json").out)
    assert (said["verified"], said["predicate"], said["index"], said["checkpoint"]) == (False, None, None, None)


def test_what_cannot_be_asked_is_told_from_what_is_refused(failshut: Failshut, folder: Path) -> None:
    """No such decision, no such file, no policy, a policy that is none."""
    assert failshut("proof", "pay@1", "--ledger", folder, "-o", "x").status == 1
    assert failshut("proof", "99", "--ledger", folder, "-o", "x").status == 2
    assert failshut("proof", "pay", "--ledger", folder, "-o", "x").status == 2
    assert failshut("proof", "1", "--ledger", "nowhere", "-o", "x").status == 1
    assert not (folder.parent / "x").exists()
    assert failshut("verify", "nowhere", "--policy", "trust.policy").status == 2
    (folder.parent / "bad.policy").write_text("trust everybody\nquorum none\n")
    ended = failshut("verify", "checkpoint", "--policy", "bad.policy")
    assert (ended.status, ended.out) == (2, "")
    assert "line 1" in ended.err


def test_a_leaf_of_another_shape_is_not_shown_and_not_a_crash(failshut: Failshut, folder: Path) -> None:
    """A log may sign what it likes: the page says that it cannot show it."""
    signer = Signer.parse((folder.parent / "keys/ledger.key").read_text().strip())
    payload = {
        "_type": "https://in-toto.io/Statement/v1",
        "subject": [{"name": "n", "digest": {"sha256": "0" * 64}}],
        "predicateType": "urn:failshut:decision:1",
        "predicate": {"kind": "decision", "gate": "g", "does": [], "readings": [1], "evidence": 3},
    }
    with open_ledger(folder, signer) as writer:
        writer.append([sign_envelope(json.dumps(payload).encode(), [signer])], position(5))
    failshut("proof", "5", "--ledger", folder, "-o", "d")
    found = failshut("verify", "d", "--policy", "trust.policy")
    assert (found.status, "cannot show" in found.out) == (0, True)


def test_a_key_is_handed_over_on_the_ledger(failshut: Failshut, folder: Path) -> None:
    """The first key still verifies all of it, the new key alone writes on, and the old one does not."""
    public = folder.parent / "keys/ledger.key.pub"
    turned = failshut("ledger", "rotate", folder, "--key", "keys/ledger.key", "--new-key", "keys/second.key")
    assert (turned.status, turned.err) == (0, "")
    new = Signer.parse((folder.parent / "keys/second.key").read_text().strip())
    assert turned.out == f"{new.verifier}\n"
    said = json.loads(failshut("ledger", "verify", folder, "--key", public, "--json").out)
    assert (said["keys"], said["size"]) == ([str(new.verifier)], 6)
    with open_ledger(folder, new) as writer:
        writer.append([record_leaf(Record("decisions", 0, 4, 1, b"x"), new)], position(5))
    assert failshut("ledger", "verify", folder, "--key", public).status == 0
    again = failshut("ledger", "rotate", folder, "--key", "keys/ledger.key", "--new-key", "keys/third.key")
    assert again.status == 1
    with open_ledger(folder, new):
        busy = failshut("ledger", "rotate", folder, "--key", "keys/second.key", "--new-key", "keys/third.key")
    assert (busy.status, "one writer" in busy.err) == (1, True)


def test_cosignatures_are_verified_with_the_ledger_and_with_each_proof(failshut: Failshut, folder: Path) -> None:
    """A quorum is met by the cosigned checkpoint and by a proof under it, and by nothing that is changed or missing."""
    public, trust = folder.parent / "keys/ledger.key.pub", folder.parent / "witnessed.policy"
    one, two = (Signer.generate(f"witness.example/{name}", COSIGNATURE) for name in ("one", "two"))
    head = f"log {public.read_text()}witness one {one.verifier}\nwitness two {two.verifier}\n"
    trust.write_text(f"{head}group both all one two\nquorum both\n")
    arguments = ("ledger", "verify", folder, "--key", public, "--policy", trust)
    nobody = failshut(*arguments)
    assert (nobody.status, nobody.out, "no witness has cosigned" in nobody.err) == (1, "", True)
    note, text = (folder / "checkpoint").read_bytes(), split_note((folder / "checkpoint").read_bytes())[0]
    times = {one: int(time.time()) - 100, two: int(time.time()) - 7}
    signed = [Signature(by.verifier.name, by.verifier.id, cosign(text, by, at)) for by, at in times.items()]
    publish_cosigned(Files(folder), joined_note(note, signed[:1]))
    assert (failshut(*arguments).status, failshut("ledger", "verify", folder, "--key", public).status) == (1, 0)
    publish_cosigned(Files(folder), joined_note(note, signed))
    found = failshut(*arguments)
    ages = {name: int(seconds) for name, seconds in re.findall(r"5 leaves cosigned by (\w+), (\d+) s ago", found.out)}
    assert (found.status, set(ages)) == (0, {"one", "two"})
    assert ages["one"] - ages["two"] == 93
    assert 7 <= ages["two"] < 7 + patient(60)
    assert set(json.loads(failshut(*arguments, "--json").out)["cosigned"]["seconds"]) == {"one", "two"}
    assert failshut("proof", f"pay@{EPOCH}", "--ledger", folder, "-o", "d").out == "d: leaf 2\n"
    page = failshut("verify", "d", "--policy", trust)
    assert (page.status, "both is met: one at " in page.out) == (0, True), page
    (folder / "checkpoint.fork").write_bytes(sign_note(Checkpoint(NAME, 9, bytes(32)).text, [one]))
    forked = failshut(*arguments)
    assert (forked.status, "another tree" in forked.err) == (1, True)
    (folder / "checkpoint.fork").write_bytes(note)
    assert failshut(*arguments).status == 0, "the tree holds what it shows"


def test_run_needs_a_broker(failshut: Failshut, folder: Path) -> None:
    """Without one it is wrong usage; with one that does not answer, nobody answered."""
    assert failshut("ledger", "run", folder, "--key", "keys/ledger.key").status == 2
    ended = failshut("ledger", "run", folder, "--key", "keys/ledger.key", "--broker", "kafka://127.0.0.1:1")
    assert ended.status == 3
