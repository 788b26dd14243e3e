"""What a long command costs that nobody known has signed: a look through it, and no step of Python for each of its bytes."""

from __future__ import annotations

import base64
import json
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from types import FrameType

import pytest
from streams.test_control import KEY, STRANGER, activate, record, started

from failshut.signing import TYP_COMMAND, UnreadableToken, claims_unverified
from failshut_streams.control.cutter import ControlCutter

PAD = 1_000_000
LONG = activate(2, PAD).model_dump(mode="json")


@contextmanager
def steps() -> Iterator[list[int]]:
    """Count the calls of functions, and how often generators go on: what Python does that no library does for it."""
    counted, before = [0], sys.getprofile()

    def count(frame: FrameType, event: str, given: object) -> None:
        counted[0] += event in ("call", "c_call")

    sys.setprofile(count)
    try:
        yield counted
    finally:
        sys.setprofile(before)


def by_a_stranger() -> bytes:
    return STRANGER.sign(LONG, TYP_COMMAND).encode()


def with_a_borrowed_kid() -> bytes:
    """An operator's key id, and a signature that is not its key's."""
    _, said, signature = by_a_stranger().split(b".")
    header = json.dumps({"alg": "EdDSA", "typ": TYP_COMMAND, "kid": KEY.kid}).encode()
    return base64.urlsafe_b64encode(header).rstrip(b"=") + b"." + said + b"." + signature


def with_no_signature() -> bytes:
    return by_a_stranger().rpartition(b".")[0] + b"."


def with_no_kid_of_ours() -> bytes:
    return b'{"alg":"none"}'.join((b"", b"." + by_a_stranger().split(b".")[1] + b"."))


@pytest.mark.parametrize("forge", [by_a_stranger, with_a_borrowed_kid, with_no_signature, with_no_kid_of_ours])
@pytest.mark.parametrize("restarted", [False, True], ids=["alive", "restarted"])
def test_an_unsigned_bundle_costs_no_step_for_each_byte(forge: Callable[[], bytes], restarted: bool) -> None:
    """Ten of two megabytes at once cost all gates their permits; the gates that it names close all the same."""
    token = forge()
    at: ControlCutter = started()
    with steps() as counted:
        if restarted:
            at = started(record(2, token))
        else:
            at.cut([record(2, token)], 3)
    assert counted[0] < PAD / 20
    assert at.book.entries["a"].policy is None
    assert at.book.version == 1


def test_what_an_unsigned_token_says_is_read_or_refused() -> None:
    """It is an object in the middle of three parts; whatever else there is has one error."""
    assert claims_unverified(by_a_stranger()) == LONG
    for junk in (b"", b"a", b"a.b", b"a.b.c.d", b"a.!.c", b"a." + base64.b64encode(b"[1]") + b".c", b"." * 1000, b"a.W1tbWw.c"):
        with pytest.raises(UnreadableToken):
            claims_unverified(junk)
    deep = base64.urlsafe_b64encode(b"[" * 200_000).rstrip(b"=")
    with pytest.raises(UnreadableToken):
        claims_unverified(b"a." + deep + b".c")
