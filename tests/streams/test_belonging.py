"""Whose commands count in a control topic, and how often: installations, ids that were taken, keys that must stand."""

from __future__ import annotations

import pytest
from streams.front_door import INSTALLATION, START_MS, partition_of
from streams.test_control import (
    ELSEWHERE,
    KEY,
    STRANGER,
    TERM,
    WHO,
    activate,
    cutter,
    governor_after,
    notices,
    policy,
    record,
    started,
)

from failshut.signing import TYP_COMMAND
from failshut_breakers.command import AcceptGap, Activate, Lock, OpenTerm
from failshut_breakers.taken_ids import IDS_MAX, STEP_BACK_MS, VALID_MS, Taken
from failshut_streams.control.client import command_key, read_command
from failshut_streams.transport import Record
from failshut_streams.transport.front_door import APPEND_TIME


def test_a_command_of_another_installation_commands_nothing() -> None:
    """Copied from there, well signed and newer: it goes to the dead letters with words, and closes and opens nothing."""
    at = started()
    elsewhere = {**WHO, "installation": ELSEWHERE}
    tokens = [
        record(2, Activate(**elsewhere, version=9, files={"a.yaml": policy("a", series="pay/x")})),
        record(3, Lock(**elsewhere, signed_ms=START_MS, gate="a")),
        record(4, OpenTerm(**{**TERM.model_dump(), **elsewhere, "term": 9})),
        record(5, AcceptGap(**elsewhere, signed_ms=START_MS, topic="telemetry", partition=0, upto=9)),
        record(6, Activate(**elsewhere, version=9, files={"a.yaml": policy("a")}), STRANGER),
    ]
    cut = at.cut(tokens, 7)
    assert [dead.record for dead in cut.dead] == tokens
    assert all(f"of installation {ELSEWHERE}" in dead.reason for dead in cut.dead[:4])
    assert not cut.runs
    assert at.term is not None
    assert (at.term.term, at.book.version, at.book.entries["a"].fault) == (1, 1, "")


@pytest.mark.parametrize("first", [True, False], ids=["before-ours", "after-ours"])
def test_the_evidence_topic_says_whose_control_this_is(first: bool) -> None:
    """A term of another evidence topic fixes nothing, wherever it was copied to; the first that names this one does."""
    theirs = record(0, OpenTerm(**{**TERM.model_dump(), **WHO, "installation": ELSEWHERE, "evidence_id": "theirs", "term": 7}))
    ours = record(1, TERM)
    records = [theirs, ours] if first else [ours, theirs]
    at = cutter()
    cut = at.everything([one._replace(offset=n) for n, one in enumerate(records)] + [record(2, activate(1))], 3)
    assert (at.belonging.installation, at.term and at.term.term, at.book.version) == (INSTALLATION, 1, 1)
    assert len(cut.dead) == 1


def test_what_stood_before_the_term_counts_if_it_is_of_its_installation() -> None:
    """A renewed term keeps the installation, and with it the policies that were in force before."""
    at = cutter()
    elsewhere = {**WHO, "installation": ELSEWHERE}
    lax = Activate(**elsewhere, version=5, files={"a.yaml": policy("a", series="pay/x")})
    at.everything([record(0, lax), record(1, activate(1)), record(2, TERM)], 3)
    assert (at.book.version, at.routes.series.get("pay/x")) == (1, None)


def test_without_a_term_of_this_evidence_topic_nothing_counts() -> None:
    """No term, no installation: every command is refused, and the worker says why it does not start."""
    at = cutter()
    cut = at.everything([record(0, TERM.model_copy(update={"evidence_id": "gone"})), record(1, activate(1))], 2)
    assert (at.term, at.book.version, len(cut.dead)) == (None, 0, 2)
    assert at.belonging.elsewhere is not None


def test_a_second_command_with_an_id_that_is_taken_is_refused() -> None:
    """A lock that is sent twice locks once: the copy goes to the dead letters, whoever routes it."""
    lock = record(2, Lock(**WHO, signed_ms=START_MS, gate="a"))
    copy = lock._replace(offset=3, timestamp_ms=lock.timestamp_ms + 1, key=b"another key")
    at = started()
    cuts = [at.cut([lock], 3), at.cut([copy], 4)]
    assert [len(cut.runs) for cut in cuts] == [1, 0]
    assert "counts once" in cuts[1].dead[0].reason
    again = cutter()
    cut = again.everything([record(0, TERM), record(1, activate(1)), lock, copy], 4)
    assert [len(run.readings.get("a", [])) for at, run in cut.runs if at == partition_of("a")] == [1]


def test_a_gap_that_is_accepted_counts_once_and_now() -> None:
    """Brought out again in a later term it would vouch for what nobody has seen: its id is taken, and it is too old."""
    at = started()
    gap = record(2, AcceptGap(**WHO, signed_ms=START_MS, topic="telemetry", partition=0, upto=9))
    cuts = [at.cut([gap], 3), at.cut([gap._replace(offset=3)], 4)]
    assert [len(notices(cut)) for cut in cuts] == [1, 0]
    late = gap._replace(offset=4, timestamp_ms=START_MS + VALID_MS + 10_000)
    assert "sign it anew" in at.cut([late], 5).dead[0].reason


def test_a_gap_of_an_earlier_term_is_none_in_the_next() -> None:
    """Control is told whole; offsets that were signed for in another term say nothing of this one's."""
    gaps = [AcceptGap(**WHO, signed_ms=START_MS, topic="telemetry", partition=0, upto=upto) for upto in (900, 5)]
    second = TERM.model_copy(update={"term": 2, "id": "second"})
    cut = cutter().everything([record(0, TERM), record(1, gaps[0]), record(2, second), record(3, gaps[1])], 4)
    assert governor_after(0, cut).coverages[-1].covered["telemetry", 0] == 5


def test_an_id_counts_once_for_bundles_and_terms_too() -> None:
    """Another command under an id that was taken is refused, whatever it says."""
    at = started()
    first = activate(2)
    cut = at.cut([record(2, first), record(3, activate(3).model_copy(update={"id": first.id}))], 4)
    assert (at.book.version, len(cut.dead)) == (2, 1)


@pytest.mark.parametrize("late_ms", [-VALID_MS - 10_000, VALID_MS + 10_000])
def test_a_command_counts_near_the_time_of_its_signing(late_ms: int) -> None:
    """An old one that is brought out again, or one of a clock that is far ahead, is refused with words."""
    at = started()
    cut = at.cut([record(2, Lock(**WHO, signed_ms=START_MS - late_ms, gate="a"))], 3)
    assert not cut.runs
    assert "sign it anew" in cut.dead[0].reason


def test_what_is_remembered_of_ids_is_bounded() -> None:
    """By time: what is forgotten is refused for its age. By number: only an operator's own key reaches the bound."""
    taken = Taken()
    assert [taken.take(f"{n}", n, n) for n in range(1, IDS_MAX + 1)] == [""] * IDS_MAX
    assert "wait" in taken.take("one more", IDS_MAX, IDS_MAX)
    later_ms = IDS_MAX + VALID_MS + STEP_BACK_MS + 1
    assert taken.take("one more", later_ms, later_ms) == ""
    assert len(taken.ids) == 1
    assert "sign it anew" in taken.take("1", 1, later_ms)


def test_a_key_that_is_used_again_is_written_anew() -> None:
    """Compaction would remove the bundle or the term in force for routers that start later; so a router restores it."""
    term, bundle = own_key(record(0, TERM)), own_key(record(1, activate(1)))
    at = cutter()
    assert at.everything([term, bundle], 2).restore == []
    copy = own_key(record(2, Lock(**WHO, signed_ms=START_MS, gate="a")))._replace(key=bundle.key)
    cut = at.cut([copy, record(3, b"garbage")._replace(key=term.key)], 4)
    assert sorted(cut.restore) == sorted([(term.key, term.value), (bundle.key, bundle.value)])
    said_again = [one._replace(offset=4 + n) for n, one in enumerate((term, bundle, term, bundle))]
    cut = at.cut(said_again, 8)
    assert (cut.restore, cut.dead, cut.runs) == ([], [], [])
    # A router that starts when compaction has been there finds what it needs, later in the log.
    late = cutter()
    late.everything([copy._replace(key=b"lock"), *said_again[2:]], 8)
    assert late.term is not None
    assert (late.term.term, late.book.entries) == (1, at.book.entries)


def test_one_that_starts_later_restores_as_well() -> None:
    """While the original is still there, whichever router reads both writes it again, once."""
    term, bundle = own_key(record(0, TERM)), own_key(record(1, activate(1)))
    spoiled = record(2, None)._replace(key=bundle.key)
    assert cutter().everything([term, bundle, spoiled], 3).restore == [(bundle.key, bundle.value)]
    assert cutter().everything([term, bundle, spoiled, bundle._replace(offset=3)], 4).restore == []


def test_a_bundle_that_is_not_in_force_any_more_need_not_stand() -> None:
    """Only the newest bundle and term are restored: what one spoiler costs does not grow with the log."""
    old, new = own_key(record(1, activate(1))), own_key(record(2, activate(2)))
    at = cutter()
    cut = at.everything([own_key(record(0, TERM)), old, new, record(3, b"x")._replace(key=old.key)], 4)
    assert cut.restore == []


def test_commands_of_an_older_version_are_named() -> None:
    """A term without an installation opens nothing, and the worker can say that it is of an older version."""
    claims = {name: value for name, value in TERM.model_dump(mode="json").items() if name != "installation"}
    at = cutter()
    cut = at.everything([Record(0, START_MS, APPEND_TIME, b"k", KEY.sign(claims, TYP_COMMAND).encode(), ())], 1)
    assert at.term is None
    assert at.belonging.nameless
    assert "names no installation" in cut.dead[0].reason


def own_key(one: Record) -> Record:
    """The record under its command's own key."""
    return one._replace(key=command_key(read_command(one.value, KEY.key_set())))
