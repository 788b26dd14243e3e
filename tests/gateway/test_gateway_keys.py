"""Access keys: their text, what each allows, and the file that holds them, whatever becomes of it."""

from __future__ import annotations

import hmac
import json
import os
import re
import subprocess
import sys
import threading
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from patience import patient

from failshut_gateway.access import access_file
from failshut_gateway.access.access_book import LOOK_SECONDS, STALE_SECONDS, AccessBook, Refusal
from failshut_gateway.access.access_file import FILE_BYTES_MAX, KEPT_MS, BadFile
from failshut_gateway.access.grant import LIFE_MS_MAX, ROLES, Act, BadGrant, Grant
from failshut_gateway.access.key_text import KEY_CHARS, KEY_PATTERN, digest_of, id_of, is_key, new_key
from failshut_gateway.access.last_uses import LastUses, read_uses, uses_path

NOW_MS = 1_790_000_000_000
DAY_MS = 24 * 3_600_000


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "access.json"


def made(path: Path, **changes: Any) -> tuple[Grant, bytes]:
    """A key for a service, in the file."""
    usual: dict[str, Any] = {
        "role": "service",
        "subjects": ["agent:*"],
        "gates": ["payments.*"],
        "expires_ms": NOW_MS + DAY_MS,
    }
    grant, key = access_file.create(path, NOW_MS, **{**usual, **changes})
    return grant, key.encode()


def book_of(path: Path, now_ms: int = NOW_MS) -> AccessBook:
    book = AccessBook(path, wall=lambda: now_ms / 1000)
    book.look()
    return book


# --- the key's text ---


def test_a_key_has_one_form_that_a_scanner_finds() -> None:
    """The pattern finds a key in any text, two keys never agree, and a change of one letter breaks the checksum."""
    keys = {new_key() for _ in range(200)}
    assert len(keys) == 200
    for key in keys:
        assert re.findall(KEY_PATTERN, f'export KEY="{key}"') == [key]
        assert (len(key), is_key(key.encode())) == (KEY_CHARS, True)
    key = next(iter(keys))
    for at in range(4, KEY_CHARS):
        other = "a" if key[at] != "a" else "b"
        assert not is_key((key[:at] + other + key[at + 1 :]).encode()), at


@pytest.mark.parametrize("text", [b"", b"fsk_", b"fsk_" + b"a" * 57, b"\xff" * KEY_CHARS, b"fsk_" + b"a" * 10_000])
def test_what_is_no_key_is_told_by_its_form(text: bytes) -> None:
    """Nothing of another length, with other letters or without the checksum is looked up."""
    assert not is_key(text)


# --- what is found ---


def test_a_key_allows_what_was_granted(path: Path) -> None:
    """The key that was shown once is found, and its entry says for whom and for which gates."""
    grant, key = made(path)
    found = book_of(path).find(key)
    assert found == grant
    assert isinstance(found, Grant)
    assert found.allows(Act.ASK)
    assert not found.allows(Act.READ)
    assert found.covers_gate("payments.refund")
    assert not found.covers_gate("fleet.scale")
    assert not found.covers_subject("user:eve")


def test_the_file_holds_no_key(path: Path) -> None:
    """Who reads the file cannot use what is in it: neither the key nor its secret part is there."""
    _, key = made(path)
    content = path.read_bytes()
    assert key not in content
    assert key[12:-6] not in content
    assert digest_of(key).hex().encode() in content
    assert path.stat().st_mode & 0o777 == 0o600


def test_another_secret_under_a_known_id_is_unknown(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The id alone opens nothing, and the hash is compared in constant time for a known id as for an unknown one."""
    _, key = made(path)
    compared: list[tuple[bytes, bytes]] = []
    real = hmac.compare_digest

    def compare(one: bytes, other: bytes) -> bool:
        compared.append((one, other))
        return real(one, other)

    monkeypatch.setattr(hmac, "compare_digest", compare)
    forged = key[:12] + new_key().encode()[12:-6]
    from failshut_gateway.access.key_text import _checksum

    forged += _checksum(forged).encode()
    book = book_of(path)
    assert is_key(forged)
    assert id_of(forged) == id_of(key)
    assert book.find(forged) is Refusal.UNKNOWN
    assert book.find(new_key().encode()) is Refusal.UNKNOWN
    assert len(compared) == 2


def test_a_key_ends_when_its_time_is_over(path: Path) -> None:
    """It counts to the last millisecond, and no longer; nor long before it was made."""
    grant, key = made(path)
    assert isinstance(book_of(path, grant.expires_ms - 1).find(key), Grant)
    assert book_of(path, grant.expires_ms).find(key) is Refusal.EXPIRED
    assert book_of(path, grant.created_ms - DAY_MS).find(key) is Refusal.EXPIRED


def test_a_revoked_key_is_refused_by_a_gateway_that_runs(path: Path) -> None:
    """A book that follows the file refuses a key soon after it was revoked, and another key still counts."""
    grant, key = made(path)
    _, other = made(path)
    book = AccessBook(path, wall=lambda: NOW_MS / 1000)
    book.start()
    try:
        assert isinstance(book.find(key), Grant)
        access_file.revoke(path, NOW_MS + 5, grant.id)
        until(lambda: book.find(key) is Refusal.REVOKED)
        assert not book.counts(grant)
        assert isinstance(book.find(other), Grant)
    finally:
        book.stop()


def until(true: Callable[[], bool]) -> None:
    """Wait for the thread that follows the file."""
    waiting = threading.Event()
    for _ in range(int(patient(20) / LOOK_SECONDS)):
        if true():
            return
        waiting.wait(LOOK_SECONDS)
    pytest.fail("did not happen")


# --- whatever becomes of the file ---


def _torn(path: Path) -> None:
    path.write_bytes(path.read_bytes()[:-20])


def _empty(path: Path) -> None:
    path.write_bytes(b"")


def _deleted(path: Path) -> None:
    path.unlink()


def _folder(path: Path) -> None:
    path.unlink()
    path.mkdir()


def _pipe(path: Path) -> None:
    path.unlink()
    os.mkfifo(path)


def _too_long(path: Path) -> None:
    path.write_bytes(path.read_bytes() + b" " * FILE_BYTES_MAX)


def _another_version(path: Path) -> None:
    path.write_text(path.read_text().replace('"failshut_access": 1', '"failshut_access": 2'))


def _an_unknown_member(path: Path) -> None:
    path.write_text(path.read_text().replace('"note"', '"addresses": [], "note"'))


def _a_member_twice(path: Path) -> None:
    path.write_text(path.read_text().replace('"role": "service"', '"role": "viewer", "role": "service"'))


def _one_bad_entry(path: Path) -> None:
    document = json.loads(path.read_text())
    document["keys"].append({"id": "abcdefgh"})
    path.write_text(json.dumps(document))


def _an_id_twice(path: Path) -> None:
    document = json.loads(path.read_text())
    document["keys"] *= 2
    path.write_text(json.dumps(document))


def _deep(path: Path) -> None:
    path.write_text("[" * 100_000)


@pytest.mark.parametrize(
    "fate",
    [
        *(_torn, _empty, _deleted, _folder, _pipe, _too_long, _another_version),
        *(_an_unknown_member, _a_member_twice, _one_bad_entry, _an_id_twice, _deep),
    ],
)
def test_a_file_that_is_not_whole_gives_nobody_access(path: Path, fate: Callable[[Path], None]) -> None:
    """Missing, torn, unreadable, or with a single entry that cannot be read: the book that had it forgets all keys."""
    _, key = made(path)
    book = book_of(path)
    assert isinstance(book.find(key), Grant)
    fate(path)
    book.look()
    assert book.find(key) is Refusal.NO_KEYS
    assert book.why


def test_a_file_that_comes_back_gives_access_again(path: Path) -> None:
    """What was taken away by a fault of the file is there again when the file is whole."""
    _, key = made(path)
    content = path.read_bytes()
    book = book_of(path)
    path.write_bytes(b"{")
    book.look()
    path.write_bytes(content)
    book.look()
    assert isinstance(book.find(key), Grant)
    assert book.why == ""


def test_a_look_that_hangs_takes_access_away(path: Path) -> None:
    """A file system that does not answer might hide a revocation: after the bound nobody has access."""
    _, key = made(path)
    now = [100.0]
    book = AccessBook(path, wall=lambda: NOW_MS / 1000, monotonic=lambda: now[0])
    assert book.find(key) is Refusal.NO_KEYS
    book.look()
    now[0] += STALE_SECONDS
    found = book.find(key)
    assert isinstance(found, Grant)
    now[0] += 0.001
    assert book.find(key) is Refusal.NO_KEYS
    assert not book.counts(found)


def test_a_file_of_the_same_size_and_time_is_a_change(path: Path) -> None:
    """Bytes are compared: a file that is written in place with its former times is noticed."""
    _, key = made(path)
    book = book_of(path)
    before = path.stat()
    path.write_text(path.read_text().replace('"payments.*"', '"banknote.*"'))
    os.utime(path, ns=(before.st_atime_ns, before.st_mtime_ns))
    assert (path.stat().st_size, path.stat().st_mtime_ns) == (before.st_size, before.st_mtime_ns)
    book.look()
    found = book.find(key)
    assert isinstance(found, Grant)
    assert found.gates == ("banknote.*",)


# --- what cannot be granted ---


@pytest.mark.parametrize(
    "changes",
    [
        {"role": "root"},
        {"gates": []},
        {"subjects": []},
        {"subjects": ["agent:\n"]},
        {"subjects": [""]},
        {"gates": ["g"] * 101},
        {"expires_ms": NOW_MS},
        {"expires_ms": NOW_MS + LIFE_MS_MAX + 1},
        {"note": "a\nb"},
    ],
)
def test_what_cannot_be_meant_is_not_granted(path: Path, changes: dict[str, Any]) -> None:
    """Nothing is written for a role that is none, an empty list, or a life without an end."""
    made(path)
    before = path.read_bytes()
    with pytest.raises(BadGrant):
        made(path, **changes)
    assert path.read_bytes() == before


def test_every_act_is_in_a_role_and_no_role_has_them_all() -> None:
    """Roles list their acts one by one, and whoever asks for executions reads no list of gates."""
    assert set.union(*map(set, ROLES.values())) == set(Act)
    assert all(acts != set(Act) for acts in ROLES.values())


# --- changes ---


def test_a_change_of_a_bad_file_changes_nothing(path: Path) -> None:
    """A file that cannot be read is not written over: whatever it held may still be repaired."""
    path.write_bytes(b"{")
    with pytest.raises(BadFile):
        made(path)
    assert path.read_bytes() == b"{"


def test_revoking_names_one_key_that_is_there(path: Path) -> None:
    """An unknown id is an error, and a key that was revoked already keeps its time."""
    grant, _ = made(path)
    with pytest.raises(LookupError):
        access_file.revoke(path, NOW_MS, "nothere0")
    assert access_file.revoke(path, NOW_MS + 1, grant.id).revoked_ms == NOW_MS + 1
    assert access_file.revoke(path, NOW_MS + 2, grant.id).revoked_ms == NOW_MS + 1


def test_an_entry_that_ended_long_ago_is_left_out(path: Path) -> None:
    """The file does not grow for ever; an entry that ended lately stays to be listed."""
    old, _ = made(path)
    late, _ = made(path, expires_ms=NOW_MS + 2 * DAY_MS)
    access_file.create(
        path, old.expires_ms + KEPT_MS, role="viewer", subjects=[], gates=["*"], expires_ms=old.expires_ms + KEPT_MS + 1
    )
    assert next(grant.id for grant in access_file.read(path)) == late.id


WRITE = """
import sys
from pathlib import Path
from failshut_gateway.access import access_file
for _ in range(10):
    access_file.create(Path(sys.argv[1]), 1, role="viewer", subjects=[], gates=["*"], expires_ms=2_000_000_000)
"""


def test_processes_that_write_at_once_lose_nothing(path: Path) -> None:
    """Each change is read, made and written under one lock."""
    writers = [subprocess.Popen([sys.executable, "-c", WRITE, str(path)]) for _ in range(3)]
    assert [writer.wait(patient(60)) for writer in writers] == [0, 0, 0]
    assert len(access_file.read(path)) == 30


def test_an_entry_survives_its_file(path: Path) -> None:
    """What is written is what is read."""
    grant, _ = made(path, note="proxy in Kiel")
    assert access_file.parse(access_file.dump([grant])) == (grant,)
    assert access_file.parse(access_file.dump([replace(grant, revoked_ms=7)])) == (replace(grant, revoked_ms=7),)


# --- last uses ---


def test_last_uses_of_two_gateways_are_joined(path: Path) -> None:
    """Each keeps what the other wrote if it is later."""
    first, second = LastUses(uses_path(path)), LastUses(uses_path(path))
    first.note("aaaaaaaa", 5)
    first.note("bbbbbbbb", 9)
    first.write()
    second.note("aaaaaaaa", 7)
    second.note("bbbbbbbb", 3)
    second.write()
    assert read_uses(uses_path(path)) == {"aaaaaaaa": 7, "bbbbbbbb": 9}


@pytest.mark.parametrize("content", [b"", b"{", b"[]", b'{"aaaaaaaa": true, "x": 1, "bbbbbbbb": "1"}', b"[" * 100_000])
def test_last_uses_that_cannot_be_read_are_none(path: Path, content: bytes) -> None:
    """They decide nothing, so nothing fails over them; the next write repairs the file."""
    uses_path(path).write_bytes(content)
    assert read_uses(uses_path(path)) == {}
    uses = LastUses(uses_path(path))
    uses.note("aaaaaaaa", 5)
    uses.write()
    assert read_uses(uses_path(path)) == {"aaaaaaaa": 5}


def test_a_folder_that_takes_no_file_is_counted(tmp_path: Path) -> None:
    """A gateway whose file of uses cannot be written goes on."""
    uses = LastUses(tmp_path / "gone" / "uses")
    uses.note("aaaaaaaa", 5)
    uses.write()
    assert uses.failures == 1


# --- keys for one sign-in ---


def test_a_key_for_one_sign_in_counts_only_there(path: Path) -> None:
    """Whoever does not sign in with it is refused, and the file that holds it is read as it was written."""
    grant, key = made(path, role="viewer", subjects=[], once=True)
    book = book_of(path)
    assert book.find(key) is Refusal.ONE_SIGN_IN
    assert book.find(key, signing_in=True) == grant
    assert access_file.parse(access_file.dump([grant])) == (grant,)


def test_it_is_a_persons(path: Path) -> None:
    """A service asks again and again: it gets none."""
    with pytest.raises(BadGrant, match="one sign-in"):
        made(path, once=True)


def test_a_file_without_such_keys_is_as_it_was(path: Path) -> None:
    """Former gateways read it."""
    made(path)
    assert b"once" not in path.read_bytes()


def test_such_keys_leave_the_file_when_they_end(path: Path) -> None:
    """Each start of `failshut up` makes one: they do not fill the file."""
    made(path, role="viewer", subjects=[], once=True)
    access_file.create(path, NOW_MS + DAY_MS + 1, role="viewer", subjects=[], gates=["*"], expires_ms=NOW_MS + 2 * DAY_MS)
    assert [grant.once for grant in access_file.read(path)] == [False]
