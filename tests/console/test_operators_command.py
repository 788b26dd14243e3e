"""Whose commands count: keys come with a name, go by it, are replaced in place, and are never all gone."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from console.console_support import Failshut
from cryptography.hazmat.primitives import serialization

from failshut.signing import KeySet, SigningKey
from failshut_console.local.operator_book import NOTES, BookError, OperatorBook, public_keys
from failshut_streams.control.operators import KEYS_MAX, OperatorsFile

FILE = Path(".failshut/keys/operators.jwks.json")
OWN = Path(".failshut/keys/operator.pem")


def public_pem(key: SigningKey, path: Path) -> Path:
    path.write_bytes(key.public.public_bytes(serialization.Encoding.PEM, serialization.PublicFormat.SubjectPublicKeyInfo))
    return path


def test_keys_come_and_go_by_name(failshut: Failshut) -> None:
    """A colleague's public key in PEM; workers read the same file and know the keys."""
    assert failshut("keys", "create").status == 0
    ann = SigningKey.generate()
    assert failshut("operators", "add", public_pem(ann, Path("ann.pub.pem")), "--name", "ann@ops").status == 0
    listed = json.loads(failshut("operators", "list", "--json").out)
    assert {one["kid"] for one in listed} == {ann.kid, SigningKey.load(OWN).kid}
    assert [one["name"] for one in listed if one["kid"] == ann.kid] == ["ann@ops"]
    assert "ann@ops" in failshut("operators", "list").out
    followed = OperatorsFile(FILE)
    followed.look()
    assert followed.fault == ""
    assert followed.powers is not None
    assert ann.kid in followed.powers.operators
    assert failshut("operators", "remove", "ann@ops").status == 0
    assert ann.kid not in KeySet.load(FILE)
    assert followed.look()


def test_a_key_is_found_by_the_beginning_of_its_id_and_never_by_half_a_name(failshut: Failshut) -> None:
    """Whoever is removed is the one who was meant."""
    assert failshut("keys", "create").status == 0
    keys = [SigningKey.generate() for _ in range(2)]
    for number, key in enumerate(keys):
        assert failshut("operators", "add", public_pem(key, Path(f"{number}.pem")), "--name", "shift").status == 0
    twice = failshut("operators", "remove", "shift")
    assert (twice.status, "the name of 2 keys" in twice.err) == (1, True)
    assert failshut("operators", "remove", "shif").status == 1
    assert failshut("operators", "remove", "nobody").status == 1
    assert failshut("operators", "remove", keys[0].kid[:20]).status == 0
    assert failshut("operators", "remove", "shift").status == 0


def test_the_last_key_stays(failshut: Failshut) -> None:
    """Nobody locks everybody out."""
    assert failshut("keys", "create").status == 0
    ended = failshut("operators", "remove", SigningKey.load(OWN).kid)
    assert ended.status == 1
    assert "the last key" in ended.err
    assert SigningKey.load(OWN).kid in KeySet.load(FILE)


def test_a_rotation_leaves_one_key_under_the_same_name(failshut: Failshut) -> None:
    """The new private key is where the former one was, for its owner alone; the former one stands beside it."""
    assert failshut("keys", "create").status == 0
    former = SigningKey.load(OWN)
    name = OperatorBook.read(FILE).find(former.kid).name
    assert failshut("operators", "rotate").status == 0
    new = SigningKey.load(OWN)
    assert new.kid != former.kid
    assert [(one.kid, one.name) for one in OperatorBook.read(FILE).operators] == [(new.kid, name)]
    assert SigningKey.load(OWN.with_name("operator.pem.former")).kid == former.kid
    assert OWN.stat().st_mode & 0o777 == 0o600
    assert failshut("operators", "rotate", "--keep").status == 0
    assert {one.kid for one in OperatorBook.read(FILE).operators} == {new.kid, SigningKey.load(OWN).kid}


def test_a_key_that_is_no_operators_is_not_rotated(failshut: Failshut) -> None:
    """A stranger's key does not get a name by being replaced; nothing is written."""
    assert failshut("keys", "create").status == 0
    stranger = SigningKey.generate()
    stranger.save(Path("stranger.pem"))
    before = FILE.read_bytes()
    assert failshut("operators", "rotate", "--key", "stranger.pem").status == 1
    assert FILE.read_bytes() == before
    assert SigningKey.load(Path("stranger.pem")).kid == stranger.kid


@pytest.mark.parametrize(
    "content", [b"nonsense", b'{"keys": []}', b"-----BEGIN PUBLIC KEY-----\nxx\n-----END PUBLIC KEY-----\n"]
)
def test_what_is_no_key_is_refused(failshut: Failshut, content: bytes) -> None:
    """And the file is as it was."""
    assert failshut("keys", "create").status == 0
    before = FILE.read_bytes()
    Path("bad").write_bytes(content)
    assert failshut("operators", "add", "bad", "--name", "x").status == 2
    assert failshut("operators", "add", "missing", "--name", "x").status == 2
    assert FILE.read_bytes() == before
    FILE.write_bytes(b"{}")
    assert failshut("operators", "list").status == 2


def test_no_file_is_said(failshut: Failshut) -> None:
    """Nobody takes an empty list for an answer."""
    assert failshut("operators", "list").status == 2


def test_a_private_key_gives_its_public_half_alone(tmp_path: Path) -> None:
    """Nothing private is written into the file that goes to every host."""
    key = SigningKey.generate()
    key.save(tmp_path / "private.pem")
    book = OperatorBook().added(public_keys(tmp_path / "private.pem"), "me")
    book.write(tmp_path / "operators.json")
    assert '"d"' not in (tmp_path / "operators.json").read_text()
    with pytest.raises(BookError, match="there already"):
        book.added(key.key_set(), "me again")


def test_names_outlive_keys_create_and_a_damaged_note(failshut: Failshut) -> None:
    """A new key of this machine does not take the others' names away, and a note that is none hides no key."""
    assert failshut("keys", "create").status == 0
    ann = SigningKey.generate()
    assert failshut("operators", "add", public_pem(ann, Path("ann.pem")), "--name", "ann").status == 0
    OWN.unlink()
    assert failshut("keys", "create").status == 0
    assert OperatorBook.read(FILE).find("ann").kid == ann.kid
    document = json.loads(FILE.read_text())
    document[NOTES] = {ann.kid: {"name": 7, "added_ms": "now"}, "other": 3}
    FILE.write_text(json.dumps(document))
    assert ann.kid in [one.kid for one in OperatorBook.read(FILE).operators]


def test_the_file_is_bounded() -> None:
    """Workers would not read more keys than that."""
    book = OperatorBook(KeySet([SigningKey.generate().public for _ in range(KEYS_MAX)]))
    with pytest.raises(BookError, match="at most"):
        book.added(SigningKey.generate().key_set(), "one more")
    with pytest.raises(BookError, match="characters"):
        OperatorBook().added(SigningKey.generate().key_set(), "a\nb")


def test_an_id_is_no_option() -> None:
    """Whoever is told an id can give it to a command as it is: none that we make begins with a dash."""
    assert not [key.kid for key in (SigningKey.generate() for _ in range(600)) if key.kid.startswith("-")]
