"""Health tells of a ledger and its witnesses, where the gateway was told of one: what was verified, and no more."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from guard.standin import Monitor, eventually
from ledger.test_witness_asking import asking, folder, policy_of, witnesses
from ledger.witness_support import until
from patience import patient
from web.browsing import Seen
from web.test_web_serve import begun
from web.web_support import Served

from failshut_console.web.ledger_look import LOOK_SECONDS, STALE_SECONDS, LedgerLook
from failshut_ledger.disk.files import CHECKPOINT
from failshut_ledger.notes.policy import parse_policy

__all__ = ["folder"]


@pytest.fixture
def cosigned(folder: Path, tmp_path: Path) -> bytes:
    """The trust policy of a ledger that one of two witnesses has cosigned: the other does not answer."""
    with witnesses(tmp_path, 1) as (one,):
        trust = policy_of([one.url, "http://127.0.0.1:1"], 1)
        with asking(folder, trust) as asked:
            until(
                lambda: asked.cosigned()[0] == 5 and asked.word() == "cosigned" and asked.word("w1") == "unheard",
                "it is cosigned",
            )
    return trust


@pytest.fixture
def served(monitor: Monitor, tmp_path: Path, folder: Path, cosigned: bytes) -> Iterator[Served]:
    with Served(monitor, tmp_path / "access.json", ledger=LedgerLook(folder, parse_policy(cosigned))) as served:
        yield served


def ledger_of(served: Served) -> dict[str, Any]:
    with served.signed_in().stream("?health=1") as events:
        found: dict[str, Any] = next(events).data["ledger"]
        return found


def test_health_tells_how_far_it_is_cosigned_and_what_each_witness_said(served: Served) -> None:
    """The age of each cosignature, and why a witness gave none."""
    found = eventually(lambda: (seen := ledger_of(served))["witnesses"] and seen)
    assert "5 leaves, 5 of them cosigned, the quorum q is met" in found["words"]
    assert found["wrong"] == ""
    one, other = found["witnesses"]
    assert (one["name"], one["said"], type(one["cosigned_seconds"])) == ("w0", "cosigned", int)
    assert (other["name"], other["said"], other["cosigned_seconds"]) == ("w1", "unheard", None)


def test_what_cannot_be_believed_is_said_without_a_number(folder: Path, cosigned: bytes) -> None:
    """A ledger that is damaged after it was seen: nothing of what was seen stands any more."""
    now = [0.0]
    look = LedgerLook(folder, parse_policy(cosigned), lambda: now[0])
    eventually(lambda: look.now()["witnesses"])
    (folder / CHECKPOINT).write_bytes(b"x")
    now[0] += LOOK_SECONDS
    found = eventually(lambda: (seen := look.now())["wrong"] and seen)
    assert (found["words"], found["witnesses"]) == ("", [])


def test_it_looks_no_more_often_than_it_should(folder: Path, cosigned: bytes) -> None:
    """However many pages ask: the files are read once in some seconds."""
    now = [0.0]
    look = LedgerLook(folder, parse_policy(cosigned), lambda: now[0])
    first = eventually(lambda: (seen := look.now())["witnesses"] and seen)
    for _ in range(50):
        assert look.now() is first
        time.sleep(0.001)
    now[0] += LOOK_SECONDS
    assert eventually(lambda: look.now() is not first)


def test_what_was_seen_long_ago_is_not_shown(folder: Path, cosigned: bytes, monkeypatch: pytest.MonkeyPatch) -> None:
    """The look hangs, as on a file system that does not answer: no number stays that nobody vouches for."""
    now, hangs = [0.0], threading.Event()
    look = LedgerLook(folder, parse_policy(cosigned), lambda: now[0])
    eventually(lambda: look.now()["witnesses"])
    monkeypatch.setattr(look, "_seen", hangs.wait)
    now[0] += STALE_SECONDS + 1
    try:
        assert "not read for 31 s" in look.now()["wrong"]
        assert look.now()["witnesses"] == []
    finally:
        hangs.set()


def test_a_person_sees_it(screen: Seen, served: Served, monitor: Monitor) -> None:
    """On the page about health: each witness in a row."""
    monitor.keep_renewing()
    screen.sign_in(served.person()[1], "/console/health")
    screen.wait("#health", "the quorum q is met")
    screen.wait('#health tr:has(th:text-is("w0"))', "cosigned")
    screen.wait('#health tr:has(th:text-is("w1"))', "never")


def test_half_of_what_it_needs_starts_nothing(monitor: Monitor, tmp_path: Path, folder: Path) -> None:
    """A ledger without a trust policy is judged by nobody."""
    started, url, lines = begun(monitor, tmp_path, "--ledger", str(folder))
    assert started.wait(patient(60)) == 2
    assert url == ""
    assert "--trust" in lines[0] + (started.stderr.read() if started.stderr else "")
