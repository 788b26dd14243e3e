"""Policies are signed, carried and looked at; policy keys come and go by name, and never become operators' keys."""

from __future__ import annotations

import json
from pathlib import Path

import msgspec
import pytest
from console.console_support import GOOD, Failshut

from failshut.signing import KeySet, SigningKey, read_token
from failshut_breakers.policy.authority import NEEDED, POLICY_KEYS, TYP_BUNDLE, digest_of_files
from failshut_console.local.bundle_file import BYTES_MAX, BadBundle, BundleFile, bundle_of
from failshut_console.local.operator_book import OperatorBook

FILE = Path(".failshut/keys/operators.jwks.json")
HERE = "oneinstallation0123456789abcdef"


@pytest.fixture
def keyed(failshut: Failshut) -> Failshut:
    """The command line where an operator has keys, ann and ben have policy keys, and policies/ holds one policy."""
    assert failshut("keys", "create").status == 0
    for who in ("ann", "ben"):
        assert failshut("keys", "policy", f"{who}.pem").status == 0
    Path("policies").mkdir()
    Path("policies/refund.yaml").write_text(GOOD)
    return failshut


def signed(keyed: Failshut, source: str = "policies", who: str = "ann", out: str = "bundle.json", *more: str) -> BundleFile:
    ended = keyed("policy", "sign", source, "-o", out, "--key", f"{who}.pem", "--installation", HERE, *more)
    assert ended.status == 0, ended.err
    return BundleFile.read(Path(out))


def test_a_bundle_is_signed_by_two(keyed: Failshut) -> None:
    """The second person signs the file of the first: the same files, the same version, another key."""
    first = signed(keyed)
    second = signed(keyed, "bundle.json", "ben", "both.json")
    assert (second.files, second.version) == (first.files, first.version) == ({"refund.yaml": GOOD}, first.version)
    assert second.signatures[:1] == first.signatures
    for who, token in zip(("ann", "ben"), second.signatures, strict=True):
        _, said = read_token(token, KeySet.load(f"{who}.pem.pub.json"), TYP_BUNDLE)
        assert (said["files"], said["version"]) == (digest_of_files(first.files), first.version)
        assert said["installations"] == [HERE]
        assert 0 < said["expires_ms"] - said["signed_ms"] <= 7 * 86_400_000


def test_what_cannot_be_signed_is_said(keyed: Failshut) -> None:
    """A bad policy, a missing key, an installation that is none, a version that a bundle has already."""
    there = ("-o", "out.json", "--key", "ann.pem", "--installation", HERE)
    Path("policies/bad.yaml").write_text("gate: [")
    bad = keyed("policy", "sign", "policies", *there)
    assert (bad.status, "nothing was signed" in bad.err) == (1, True)
    assert keyed("policy", "sign", "policies", *there, "--even-bad").status == 0
    Path("policies/bad.yaml").unlink()
    assert keyed("policy", "sign", "policies", *there, "--expires", "soon").status == 2
    assert keyed("policy", "sign", "nowhere", *there).status == 2
    assert keyed("policy", "sign", "out.json", *there, "--version", "5", "--even-bad").status == 2
    other = keyed("policy", "sign", "policies", "-o", "o.json", "--key", "nobody.pem", "--installation", HERE)
    assert (other.status, "failshut keys policy" in other.err) == (2, True)
    assert keyed("policy", "sign", "policies", "-o", "o.json", "--key", "ann.pem", "--installation", "no id!").status == 2
    assert not Path("o.json").exists()


def test_a_private_key_is_written_once_and_for_its_owner_alone(keyed: Failshut) -> None:
    """Nothing is written over, and only the public half is handed on."""
    assert Path("ann.pem").stat().st_mode & 0o777 == 0o600
    before = Path("ann.pem").read_bytes()
    again = keyed("keys", "policy", "ann.pem")
    assert (again.status, "nothing was made" in again.err) == (1, True)
    assert Path("ann.pem").read_bytes() == before
    assert "PRIVATE" not in Path("ann.pem.pub.json").read_text()


def test_policy_keys_come_and_go_by_name(keyed: Failshut) -> None:
    """The operators file names them, and keeps what it named before."""
    assert "no authority is named" in keyed("authority", "list").out
    operators = OperatorBook.read(FILE).operators
    for who in ("ann", "ben"):
        assert keyed("authority", "add", f"{who}.pem.pub.json", "--name", f"{who}@risk").status == 0
    assert keyed("authority", "require", "2").status == 0
    listed = json.loads(keyed("authority", "list", "--json").out)
    assert (listed["needed"], sorted(one["name"] for one in listed["keys"])) == (2, ["ann@risk", "ben@risk"])
    assert OperatorBook.read(FILE).operators == operators
    few = keyed("authority", "remove", "ben@risk")
    assert (few.status, "2 must sign" in few.err) == (1, True)
    assert keyed("authority", "require", "3").status == 1
    assert keyed("authority", "require", "1").status == 0
    assert keyed("authority", "remove", "ben@risk").status == 0
    assert [one.name for one in OperatorBook.read(FILE).policy_keys] == ["ann@risk"]
    assert keyed("authority", "remove", "ann@risk").status == 1, "the last one ends by `authority end`"
    assert keyed("authority", "end").status == 0
    assert keyed("authority", "end").status == 1
    assert not {POLICY_KEYS, NEEDED} & set(json.loads(FILE.read_text()))


def test_an_operators_key_is_no_policy_key(keyed: Failshut) -> None:
    """Neither becomes the other, and a change of operators keeps the authority."""
    both = keyed("authority", "add", ".failshut/keys/operator.pem", "--name", "me")
    assert (both.status, "does not sign them" in both.err) == (1, True)
    assert keyed("authority", "add", "ann.pem.pub.json", "--name", "ann").status == 0
    assert keyed("authority", "add", "ann.pem.pub.json", "--name", "ann").status == 1
    other = keyed("operators", "add", "ann.pem.pub.json", "--name", "ann")
    assert (other.status, "does not put them in force" in other.err) == (1, True)
    assert keyed("operators", "add", "ben.pem.pub.json", "--name", "ben").status == 0
    assert [one.name for one in OperatorBook.read(FILE).policy_keys] == ["ann"]


def test_a_file_that_is_no_bundle_is_refused(keyed: Failshut) -> None:
    """Nothing of it is used, and nothing is activated."""
    good = signed(keyed)
    path = Path("bad.json")
    whole = json.loads(Path("bundle.json").read_text())
    changes: list[dict[str, object]] = [{"failshut_bundle": 2}, {"version": 0}, {"files": []}, {"more": 1}]
    for change in (*changes, {"signatures": ["x"] * 17}):
        path.write_text(json.dumps(whole | change))
        with pytest.raises(BadBundle):
            BundleFile.read(path)
        assert keyed("policy", "activate", "bad.json", "--broker", "kafka://127.0.0.1:1").status == 2
    path.write_bytes(Path("bundle.json").read_bytes()[:-40])
    with pytest.raises(BadBundle):
        BundleFile.read(path)
    path.write_bytes(b" " * (BYTES_MAX + 1))
    with pytest.raises(BadBundle, match="bytes"):
        BundleFile.read(path)
    with pytest.raises(BadBundle, match="17 signatures"):
        bundle_of(1, good.files, ["x"] * 17)
    good.write(path)
    assert msgspec.json.decode(path.read_bytes()) == whole


def test_another_version_than_was_signed_is_refused(keyed: Failshut) -> None:
    """Before anything is sent."""
    signed(keyed)
    ended = keyed("policy", "activate", "bundle.json", "--version", "7", "--broker", "kafka://127.0.0.1:1")
    assert (ended.status, "was signed as version" in ended.err) == (2, True)


def test_a_key_from_a_file_of_no_key_is_refused(keyed: Failshut) -> None:
    """With the words of what to give."""
    Path("x").write_text("x")
    assert keyed("authority", "add", "x", "--name", "x").status == 2
    assert SigningKey.load("ann.pem").kid in KeySet.load("ann.pem.pub.json")
