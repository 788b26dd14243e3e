"""Proofs in a real browser: it says of each file what `failshut verify` says, and names the step that failed."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any, NamedTuple

import pytest
from console.decisions import ADA, DRIFT, control, decision, encoded, refused
from guard.standin import eventually
from ledger.writing import KEY, position
from web.browsing import Seen
from web.web_support import Served

from failshut_breakers.decisions.decision import Brief, Kind
from failshut_ledger.disk.files import Files
from failshut_ledger.disk.proving import prove_leaf
from failshut_ledger.disk.writer import create_ledger, open_ledger
from failshut_ledger.leaves.statement import Record, begin_leaf, record_leaf
from failshut_ledger.notes.cosignature import cosign
from failshut_ledger.notes.keys import COSIGNATURE, Signer
from failshut_ledger.notes.note import Signature, sign_note, split_note
from failshut_ledger.notes.policy import parse_policy
from failshut_ledger.notes.proof import Proof
from failshut_ledger.verdict import CHECKS, examine

STEPS = ("Form", "Checkpoint", "Witnesses", "Inclusion", "Signature of the leaf", "Statement")


class Made(NamedTuple):
    """A proof of a ledger, with two witnesses, and policies."""

    proof: bytes
    plain: str
    witnessed: str


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Made:
    folder = tmp_path_factory.mktemp("proofs") / "ledger"
    closing = decision(Kind.CLOSE, 7, **DRIFT, readings=[Brief("drift:agent/amount", "demands", "mean 48 to 97, è")])
    values = encoded(decision(Kind.OPEN, 3), closing, refused(9), decision(Kind.CLOSE, 12, by=f"{ADA}: x", origin=control(1)))
    create_ledger(folder, KEY)
    leaves = [record_leaf(Record("decisions", 0, number, 1_000, value), KEY) for number, value in enumerate(values)]
    with open_ledger(folder, KEY) as writer:
        writer.append([begin_leaf(KEY, position(0), 1_772_362_800_000), *leaves], position(4))
    proof = prove_leaf(Files(folder), 2)
    text, signatures = split_note(proof.checkpoint)
    witnesses = [Signer.generate(f"witness.example/{name}", COSIGNATURE) for name in ("one", "two")]
    cosigned = [Signature(one.verifier.name, one.verifier.id, cosign(text, one, 1_772_362_900)) for one in witnesses]
    note = sign_note(text, [], [*signatures, *cosigned])
    lines = [f"witness W{number} {one.verifier}" for number, one in enumerate(witnesses)]
    plain = f"log {KEY.verifier}\nquorum none\n"
    witnessed = f"# ours\nlog {KEY.verifier}\n" + "\n".join(lines) + "\ngroup both all W0 W1\nquorum both\n"
    return Made(Proof(proof.index, proof.hashes, note, proof.extra).data, plain, witnessed)


@pytest.fixture
def page(screen: Seen, served: Served) -> Seen:
    screen.sign_in(served.person()[1], "/console/proofs")
    screen.page.locator("#verify button:enabled").wait_for()
    return screen


def verified(seen: Seen, proof: bytes, policy: str) -> list[tuple[str, str]]:
    """What the page says of each step: its name and how it went; or what it says where it verified nothing."""
    files = [{"name": "d.tlog-proof", "mimeType": "application/octet-stream", "buffer": proof}]
    seen.page.evaluate("document.getElementById('verdict').replaceChildren()")
    seen.page.set_input_files("#proof-file", [])
    seen.page.evaluate("document.getElementById('proof-text').value = ''")
    seen.page.set_input_files("#proof-file", files)
    eventually(lambda: seen.page.evaluate("document.getElementById('proof-text').value !== ''"))
    seen.page.fill("#policy-text", policy)
    seen.page.click("#verify button")
    seen.page.locator("#verdict .verdict").wait_for()
    steps = seen.page.locator("#verdict .steps li").all()
    return [(str(one.locator("b").text_content()), str(one.locator(".status").text_content())) for one in steps]


def expected(proof: bytes, policy: str) -> list[tuple[str, str]]:
    """What `failshut verify` says."""
    words = {True: "passed", False: "failed", None: "not checked"}
    checks = examine(proof, parse_policy(policy.encode())).checks
    return [(STEPS[CHECKS.index(one.name)], words[one.passed]) for one in checks]


def test_a_proof_is_verified_in_the_browser(page: Seen, made: Made) -> None:
    """Each step passes, with and without witnesses, and what was decided is shown."""
    for policy in (made.plain, made.witnessed):
        found = verified(page, made.proof, policy)
        assert found == expected(made.proof, policy) == [(step, "passed") for step in STEPS]
        assert "Verified: each step passed" in page.text("#verdict .verdict")
        assert "mean 48" in page.text("#verdict dl")


def changed(proof: bytes, place: int, bit: int) -> bytes:
    return proof[:place] + bytes([proof[place] ^ (1 << bit)]) + proof[place + 1 :]


def test_no_changed_bit_goes_unseen(page: Seen, made: Made) -> None:
    """A bit that differs, anywhere, fails the step that `failshut verify` names; nothing of the leaf is shown."""
    places = [*range(0, len(made.proof), max(1, len(made.proof) // 24)), len(made.proof) - 2]
    for number, place in enumerate(places):
        wrong = changed(made.proof, place, number % 7)
        found = verified(page, wrong, made.witnessed)
        assert found == expected(wrong, made.witnessed), place
        assert "failed" in [how for _, how in found]
        assert page.page.locator("#verdict dl").count() == 0
        failing = next(step for step, how in found if how == "failed")
        assert f"the step “{failing}” failed" in page.text("#verdict .verdict")


def odd_proofs(made: Made) -> dict[str, bytes]:
    parsed = Proof.parse(made.proof)
    text, signatures = split_note(parsed.checkpoint)
    assert parsed.extra is not None
    twice = parsed.extra.replace(b'{"payloadType"', b'{"payloadType":"x","payloadType"', 1)
    return {
        "another leaf": Proof(parsed.index, parsed.hashes, parsed.checkpoint, parsed.extra + b" ").data,
        "a name twice": Proof(parsed.index, parsed.hashes, parsed.checkpoint, twice).data,
        "no leaf": Proof(parsed.index, parsed.hashes, parsed.checkpoint).data,
        "another index": Proof(1, parsed.hashes, parsed.checkpoint, parsed.extra).data,
        "beyond the tree": Proof(2**40, parsed.hashes, parsed.checkpoint, parsed.extra).data,
        "a hash less": Proof(parsed.index, parsed.hashes[:-1], parsed.checkpoint, parsed.extra).data,
        "a hash more": Proof(parsed.index, (*parsed.hashes, bytes(32)), parsed.checkpoint, parsed.extra).data,
        "one witness": made.proof.rpartition("\u2014".encode())[0],
        "no log": Proof(parsed.index, parsed.hashes, sign_note(text, [], signatures[1:]), parsed.extra).data,
        "signed twice": Proof(
            parsed.index, parsed.hashes, sign_note(text, [], [*signatures, signatures[0]]), parsed.extra
        ).data,
        "no UTF-8": b"\xff" + made.proof,
        "too long": made.proof + b"x" * 400_000,
    }


def test_odd_proofs_fail_where_the_command_says(page: Seen, made: Made) -> None:
    """Proofs of strangers: cut, extended, signed by too few, twice or by nobody, in other forms."""
    for name, wrong in odd_proofs(made).items():
        found = verified(page, wrong, made.witnessed)
        assert found == expected(wrong, made.witnessed), name
        assert "failed" in [how for _, how in found], name


@pytest.mark.parametrize(
    "wrong", ["", "quorum none\nquorum none\n", "trust everybody\n", "log x+1+y\nquorum none\n", "quorum W9\n"]
)
def test_a_policy_that_is_not_understood_verifies_nothing(page: Seen, made: Made, wrong: str) -> None:
    """The page says that nothing was verified, and which line it was."""
    assert verified(page, made.proof, wrong) == []
    assert "Nothing was verified" in page.text("#verdict .verdict")


def test_a_strangers_key_verifies_nothing(page: Seen, made: Made) -> None:
    """A policy that trusts another log of the same name fails at the checkpoint."""
    other = Signer.generate(KEY.verifier.name)
    policy = f"log {other.verifier}\nquorum none\n"
    assert verified(page, made.proof, policy) == expected(made.proof, policy)
    assert "Checkpoint” failed" in page.text("#verdict .verdict")


def test_a_browser_without_webcrypto_says_so(chromium: Any, served: Served, made: Made) -> None:
    """Over plain HTTP from another host there is no WebCrypto: the page says so, and verifies nothing."""
    context = chromium.new_context()
    screen = Seen(context.new_page(), f"http://gates.example:{served.port}")
    screen.sign_in(served.person()[1], "/console/proofs")
    screen.wait("#verdict", "no WebCrypto")
    assert screen.page.locator("#verify button").is_disabled()
    context.close()


def test_the_bundle_names_the_same_steps() -> None:
    """The page's steps are those of the command, in the same order."""
    source = Path(__file__).resolve().parents[2] / "console" / "failshut_console" / "web" / "source" / "tlog.ts"
    named = re.search(r"CHECKS = \[(.*?)\]", source.read_text(encoding="utf-8"))
    assert named is not None
    assert tuple(re.findall(r'"(\w+)"', named[1])) == CHECKS
