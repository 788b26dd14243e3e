"""Whose commands count is a function of control: operators' keys are named there, and the file that was changed last wins."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any

import pytest
from streams.front_door import EVIDENCE_ID, LOG, START_MS, at_ms, partition_of
from streams.test_control import GATES, KEY, MONITOR, STRANGER, TERM, WHO, activate, governor_after, record

from failshut.signing import TYP_COMMAND, KeySet, SigningKey
from failshut_breakers.command import Lock
from failshut_breakers.decisions.decision import Breaker
from failshut_breakers.evidence.records import OperatorsNamed
from failshut_streams.control import operators as operators_module
from failshut_streams.control.cutter import ControlCut, ControlCutter
from failshut_streams.control.operators import (
    KEYS_MAX,
    TYP_OPERATORS,
    OperatorsFile,
    OperatorsInForce,
    OperatorsUnreadable,
    Powers,
    encode_named,
    is_named,
    kids_of,
)
from failshut_streams.control.operators_file import OperatorNaming
from failshut_streams.transport import Record
from failshut_streams.transport.front_door import APPEND_TIME

CI = SigningKey.generate()
BOTH = KEY.key_set().joined(CI.key_set())


TIMELESS = {**KEY.key_set().to_dict(), "evidence_id": EVIDENCE_ID, "changed_ms": "now", "worker": "w"}


def named(
    offset: int, keys: KeySet, changed_ms: int = START_MS, signer: SigningKey = MONITOR, log: str = EVIDENCE_ID
) -> Record:
    key, value = encode_named(signer, Powers(keys), changed_ms, "w", log)
    return Record(offset, at_ms(offset), APPEND_TIME, key, value, ())


def lock(gate: str) -> Lock:
    return Lock(**WHO, signed_ms=START_MS, gate=gate)


def in_force(keys: KeySet | None = None) -> OperatorsInForce:
    return OperatorsInForce(keys, MONITOR.key_set(), EVIDENCE_ID)


def router(keys: KeySet | None = None) -> ControlCutter:
    return ControlCutter(OperatorsInForce(keys, MONITOR.key_set(), EVIDENCE_ID), LOG, "r", partition_of, 100)


def begun(*records: Record) -> tuple[ControlCutter, ControlCut]:
    at = router()
    return at, at.everything([record(0, TERM), *records], 1 + len(records))


def dead(cut: ControlCut) -> list[int]:
    return [letter.record.offset for letter in cut.dead]


def test_the_first_that_control_names_speak_for_what_came_before() -> None:
    """An operator opens the term and activates before any worker runs."""
    at, cut = begun(record(1, activate(1)), named(2, BOTH), record(3, lock("a"), CI))
    assert not cut.dead
    assert at.book.version == 1


def test_where_control_names_nobody_no_command_counts() -> None:
    """No default permits: a worker names its operators before it routes."""
    _, cut = begun(record(1, activate(1)))
    assert dead(cut) == [0, 1]


def test_a_key_counts_from_the_record_that_names_it_to_the_one_that_does_not() -> None:
    """What it has activated stays in force; what it says afterwards is refused, alive or read again from the beginning."""
    later = [
        record(4, lock("a"), CI),
        named(5, KEY.key_set(), at_ms(5)),
        record(6, lock("b"), CI),
    ]
    alive, cut = begun(named(1, BOTH), record(2, activate(1), CI))
    assert not cut.dead
    cut = alive.cut(later, 7)
    assert dead(cut) == [6]
    again, cut = begun(named(1, BOTH), record(2, activate(1), CI), *later)
    assert dead(cut) == [6]
    assert alive.book.entries == again.book.entries
    assert all(again.book.entries[gate].policy for gate in GATES)


def test_two_routers_with_other_files_make_the_same_of_control() -> None:
    """Verdicts come from control alone: their runs carry the same digests, and a governor counts both."""
    records = [
        record(0, TERM),
        named(1, BOTH),
        record(2, activate(1), CI),
        record(3, lock("a"), CI),
    ]
    one, other = router(KEY.key_set()), router(CI.key_set())
    cuts = [at.everything(records, 4) for at in (one, other)]
    assert [run.made for _, run in cuts[0].runs] == [run.made for _, run in cuts[1].runs]
    governor = governor_after(partition_of("a"), *cuts)
    assert governor.gates["a"].breaker.state is Breaker.LOCKED
    assert not governor.coverages[-1].refused


def test_a_run_of_control_ends_where_operators_change() -> None:
    """Its digest is that of the keys by which all of it was judged."""
    at, cut = begun(named(1, BOTH))
    cuts = [
        cut,
        at.cut(
            [
                record(2, activate(1), CI),
                named(3, KEY.key_set(), at_ms(3)),
                record(4, lock("a")),
            ],
            5,
        ),
    ]
    for run in (run for one in cuts for _, run in one.runs):
        told = [notice.offset for notice in run.notices if isinstance(notice, OperatorsNamed)]
        assert all(offset == max(notice.offset for notice in run.notices) for offset in told)
        assert not told or not [reading for reading in run.readings.values() if reading]
    assert governor_after(partition_of("a"), *cuts).gates["a"].breaker.state is Breaker.LOCKED


def test_an_older_file_brings_no_withdrawn_key_back() -> None:
    """A record counts only if its file was changed later than that of the record in force."""
    at, _ = begun(named(1, BOTH, at_ms(1)), named(2, KEY.key_set(), at_ms(2)))
    cut = at.cut(
        [named(3, BOTH, at_ms(1)), named(4, BOTH, at_ms(2)), record(5, lock("a"), CI)],
        6,
    )
    assert dead(cut) == [3, 4, 5]


def test_the_future_is_not_claimed() -> None:
    """A host whose clock is ahead does not keep later changes out: what counts is no later than the record."""
    at, _ = begun(named(1, BOTH, START_MS + 10**9))
    assert not dead(at.cut([named(2, KEY.key_set(), at_ms(2))], 3))


@pytest.mark.parametrize(
    "bad",
    [
        pytest.param(named(3, KEY.key_set(), at_ms(3), STRANGER), id="a-stranger's"),
        pytest.param(named(3, KEY.key_set(), at_ms(3), KEY), id="an-operator's"),
        pytest.param(named(3, KEY.key_set(), at_ms(3), log="another"), id="another-installation's"),
        pytest.param(Record(3, at_ms(3), APPEND_TIME, b"operators/x", None, ()), id="a-tombstone"),
        pytest.param(Record(3, at_ms(3), APPEND_TIME, b"operators/x", b"{}", ()), id="no-token"),
        pytest.param(
            Record(3, at_ms(3), APPEND_TIME, b"operators/x", MONITOR.sign({"keys": []}, TYP_OPERATORS).encode(), ()),
            id="nobody",
        ),
        pytest.param(
            Record(
                3,
                at_ms(3),
                APPEND_TIME,
                b"operators/x",
                MONITOR.sign(TIMELESS, TYP_OPERATORS).encode(),
                (),
            ),
            id="no-time",
        ),
        pytest.param(
            Record(3, at_ms(3), APPEND_TIME, b"operators/x", MONITOR.sign(KEY.key_set().to_dict(), TYP_COMMAND).encode(), ()),
            id="another-type",
        ),
    ],
)
def test_only_the_monitors_key_names_operators(bad: Record) -> None:
    """All else is a dead letter, and the keys in force stay."""
    at, _ = begun(named(1, BOTH), record(2, activate(1)))
    assert dead(at.cut([bad], 4)) == [3]
    assert at.operators.named is not None
    assert kids_of(at.operators.named.powers.operators) == kids_of(BOTH)


class Sent:
    """Takes what a worker writes to control."""

    def __init__(self) -> None:
        self.records: list[Record] = []

    async def send_and_wait(self, topic: str, value: bytes, key: bytes, *, partition: int) -> None:
        assert (topic, partition) == ("control", 0)
        offset = len(self.records) + 1
        self.records.append(Record(offset, START_MS + 10**9 + offset, APPEND_TIME, key, value, ()))


def changed(path: Path, keys: KeySet, at_ms: int) -> None:
    keys.write(path)
    os.utime(path, ns=(at_ms * 1_000_000, at_ms * 1_000_000))


@pytest.fixture
def file(tmp_path: Path) -> Path:
    path = tmp_path / "operators.jwks.json"
    changed(path, BOTH, START_MS)
    return path


def naming(file: Path) -> tuple[OperatorNaming, OperatorsFile, Any, OperatorsInForce]:
    read = OperatorsFile(file)
    return (
        OperatorNaming(read, MONITOR, "w", "control", EVIDENCE_ID),
        read,
        Sent(),
        OperatorsInForce(None, MONITOR.key_set(), EVIDENCE_ID),
    )


async def test_a_worker_names_its_operators_where_control_names_none(file: Path) -> None:
    """Once: a second worker finds them named."""
    mine, _, sent, in_force = naming(file)
    assert await mine.begin([], sent)
    (first,) = sent.records
    assert is_named(first)
    assert not isinstance(in_force.take(first), str)
    other, _, others, _ = naming(file)
    assert not await other.begin(sent.records, others)
    assert others.records == []


async def test_a_stranger_does_not_keep_a_worker_from_naming_operators(file: Path) -> None:
    """What another key has signed names nobody."""
    mine, _, sent, _ = naming(file)
    assert await mine.begin([named(0, BOTH, signer=STRANGER)], sent)


async def test_a_change_is_named_at_once_and_once(file: Path) -> None:
    """The file is followed while the worker runs."""
    mine, read, sent, in_force = naming(file)
    await mine.begin([], sent)
    in_force.take(sent.records[0])
    changed(file, KEY.key_set(), START_MS + 1_000)
    assert read.look()
    for _ in range(3):
        await mine.compare(in_force.named, sent)
    assert len(sent.records) == 2
    in_force.take(sent.records[1])
    assert in_force.keys is not None
    assert kids_of(in_force.keys) == kids_of(KEY.key_set())
    await mine.compare(in_force.named, sent)
    assert (len(sent.records), mine.trouble) == (2, "")


async def test_an_older_file_is_named_by_nobody_and_said(file: Path) -> None:
    """A worker that starts with an old copy goes on with what control says, and says what to do."""
    mine, read, sent, in_force = naming(file)
    in_force.take(named(1, KEY.key_set(), at_ms(1)))
    read.look()
    await mine.compare(in_force.named, sent)
    assert sent.records == []
    assert "is older than the one that worker w had" in mine.trouble


@pytest.mark.parametrize("bytes_", [b"", b"{", b'{"keys": []}', b'{"keys": [{"kty": "RSA"}]}', b"[" * 100_000, None])
async def test_a_file_that_cannot_be_read_withdraws_nobody(file: Path, bytes_: bytes | None) -> None:
    """A torn or missing file is trouble, not a rotation; and with nobody named, a worker does not start over it."""
    mine, read, sent, in_force = naming(file)
    await mine.begin([], sent)
    in_force.take(sent.records[0])
    file.unlink()
    if bytes_ is not None:
        file.write_bytes(bytes_)
    assert not read.look()
    await mine.compare(in_force.named, sent)
    assert len(sent.records) == 1
    assert "cannot be read" in mine.trouble
    fresh, _, none, _ = naming(file)
    with pytest.raises(OperatorsUnreadable, match="no command counts"):
        await fresh.begin([], none)
    changed(file, BOTH, START_MS)
    read.look()
    await mine.compare(in_force.named, sent)
    assert mine.trouble == ""


def test_a_file_is_bounded(file: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A giant file is not read whole, nor are more keys than anybody has."""
    read = OperatorsFile(file)
    monkeypatch.setattr(operators_module, "BYTES_MAX", 100)
    assert not read.look()
    assert "more than 100 bytes" in read.fault
    monkeypatch.undo()
    file.write_text(json.dumps({"keys": [{}] * (KEYS_MAX + 1)}))
    assert not OperatorsFile(file).look()


def test_who_reads_control_again_believes_nobody_yet() -> None:
    """Where the monitor's keys may name operators, control says whose commands count, and no file of this worker's does."""
    keys = SigningKey.generate().key_set()
    assert OperatorsInForce(keys, keys, "evidence").again().keys is None
