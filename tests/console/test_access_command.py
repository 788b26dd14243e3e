"""`failshut access`: keys are made, shown once, listed without their secret, and revoked."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from console.console_support import Failshut

from failshut_gateway.access.access_book import AccessBook, Refusal
from failshut_gateway.access.grant import Grant
from failshut_gateway.access.last_uses import LastUses, uses_path

SERVICE = ("access", "create", "--role", "service", "--subjects", "agent:*", "--gates", "payments.*", "--expires", "90d")


def found(tmp_path: Path, key: str) -> object:
    book = AccessBook(tmp_path / ".failshut" / "access.json")
    book.look()
    return book.find(key.encode())


def test_a_key_is_shown_once_and_alone(failshut: Failshut, tmp_path: Path) -> None:
    """Standard output is the key, which counts at once; listing shows its id and never the key."""
    made = failshut(*SERVICE, "--subjects", "user:ops", "--note", "proxy")
    key = made.out.strip()
    grant = found(tmp_path, key)
    assert made.status == 0
    assert isinstance(grant, Grant)
    assert (grant.subjects, grant.gates, grant.note) == (("agent:*", "user:ops"), ("payments.*",), "proxy")
    assert 89 * 86_400_000 < grant.expires_ms - grant.created_ms <= 90 * 86_400_000
    shown = failshut("access", "list")
    assert (shown.status, grant.id in shown.out, "never used" in shown.out) == (0, True, True)
    assert key[12:-6] not in shown.out + made.err + (tmp_path / ".failshut" / "access.json").read_text()


def test_a_revoked_key_is_refused_and_listed_as_such(failshut: Failshut, tmp_path: Path) -> None:
    """Its id is enough, and so is the key itself; the entry stays on the list."""
    keys = [failshut(*SERVICE).out.strip() for _ in range(2)]
    assert failshut("access", "revoke", keys[0][4:12]).status == 0
    assert failshut("access", "revoke", keys[1]).status == 0
    assert [found(tmp_path, key) for key in keys] == [Refusal.REVOKED, Refusal.REVOKED]
    listed = json.loads(failshut("access", "list", "--json").out)
    assert [entry["state"] for entry in listed] == ["revoked", "revoked"]


def test_an_unknown_id_revokes_nothing(failshut: Failshut) -> None:
    """Status 1: a script that revokes must know that it did not."""
    failshut(*SERVICE)
    assert failshut("access", "revoke", "nothere0").status == 1


def test_the_last_use_is_shown(failshut: Failshut, tmp_path: Path) -> None:
    """What a gateway wrote beside the file stands in the list."""
    key = failshut(*SERVICE).out.strip()
    uses = LastUses(uses_path(tmp_path / ".failshut" / "access.json"))
    uses.note(key[4:12], 1_790_000_000_000)
    uses.write()
    assert json.loads(failshut("access", "list", "--json").out)[0]["used_ms"] == 1_790_000_000_000
    assert "used 2026-09-21" in failshut("access", "list").out


@pytest.mark.parametrize(
    ("options", "says"),
    [
        (("--role", "root", "--gates", "*", "--expires", "1d"), "role"),
        (("--role", "service", "--gates", "*", "--expires", "1d"), "subjects"),
        (("--role", "viewer", "--expires", "1d"), "gates"),
        (("--role", "viewer", "--gates", "*", "--expires", "10000d"), "366 days"),
        (("--role", "viewer", "--gates", "*", "--expires", "soon"), "--expires"),
        (("--role", "viewer", "--gates", "*", "--expires", "2020-01-01T00:00:00Z"), "at least"),
        (("--role", "viewer", "--gates", "*"), "--expires"),
    ],
)
def test_what_cannot_be_granted_is_said(failshut: Failshut, tmp_path: Path, options: tuple[str, ...], says: str) -> None:
    """Status 2, no traceback, and no key."""
    ended = failshut("access", "create", *options)
    assert (ended.status, ended.out) == (2, "")
    assert says in ended.err
    assert "Traceback" not in ended.err


def test_a_file_that_cannot_be_read_is_not_written_over(failshut: Failshut, tmp_path: Path) -> None:
    """Each command says that nobody has access meanwhile."""
    path = tmp_path / "torn.json"
    path.write_text("{")
    for command in (SERVICE, ("access", "list"), ("access", "revoke", "nothere0")):
        ended = failshut(*command, "--file", path)
        assert ended.status == 2
        assert "nobody has access" in ended.err
    assert path.read_text() == "{"


def test_without_keys_the_list_says_who_may_ask(failshut: Failshut) -> None:
    """An installation without a file of keys is one to which nobody has access."""
    assert "nobody may ask" in failshut("access", "list").out
