"""A recording of before version 0.2, with a command `hold` and a breaker HELD in it, replays to the same decisions."""

from __future__ import annotations

import json
from pathlib import Path

import msgspec
from replay import made

from failshut_breakers.evidence.readings import Commanded
from failshut_breakers.evidence.records import decode_run, encode_run
from failshut_replay.recording.reader import Recording
from failshut_replay.recording.record import Evidence, record
from failshut_replay.replay.replay import Replay
from failshut_replay.replay.verdict import check
from failshut_replay.sources.front_door import evidence_of


def with_a_hold(records: list[Evidence], why: str, installation: str = "") -> list[Evidence]:
    """The same log, with an operator's command of the old kind in a run of control."""
    at, run = next(
        (number, run)
        for number, run in ((number, decode_run(one.record)) for number, one in enumerate(records))
        if number > 150 and run.topic == "control"
    )
    term = next(notice for one in records for notice in decode_run(one.record).notices if hasattr(notice, "installation"))
    claims = {
        "kind": "hold",
        "installation": installation or term.installation,
        "gate": "pay",
        "by": "ada",
        "why": why,
        "id": "one",
    }
    commanded = Commanded(run.previous, run.append_ms, json.dumps({**claims, "signed_ms": run.append_ms}), "kid")
    changed = encode_run(msgspec.structs.replace(run, readings={"pay": [commanded]}))
    return [*records[:at], records[at]._replace(record=changed), *records[at + 1 :]]


def old_words(data: bytes) -> bytes:
    """A decision as versions before 0.2 wrote it."""
    for new, old in ((b'"LOCKED"', b'"HELD"'), (b'"lock"', b'"hold"'), (b'"locked by', b'"held by')):
        data = data.replace(new, old)
    return data


def test_an_old_recording_replays_to_its_decisions(tmp_path: Path) -> None:
    """HELD and hold on record are LOCKED and lock now; what else differs is still found."""
    records = with_a_hold(list(evidence_of(made.values(), {"pay.yaml": made.DEAF})), "deploy")
    record(tmp_path / "new.parquet", records)
    taken = [one.record for one in Recording(tmp_path / "new.parquet").decisions(0)]
    assert b'"locked by ada: deploy"' in b"".join(taken)

    record(tmp_path / "old.parquet", records, [old_words(one) for one in taken])
    old = Recording(tmp_path / "old.parquet")
    assert b'"breaker":"HELD","cause":"hold"' in b"".join(one.record for one in old.decisions(0))
    verdict = check(old)
    assert verdict.identical, verdict.difference
    assert verdict.decisions == len(taken)
    assert {one.breaker.value for step in Replay(old) for one in step.decisions} >= {"ARMED", "LOCKED"}

    other = [old_words(one).replace(b"ada: deploy", b"ada: delay") for one in taken]
    record(tmp_path / "other.parquet", records, other)
    assert "differs in because" in check(Recording(tmp_path / "other.parquet")).difference


def test_a_recording_of_before_answers_replays_to_its_decisions(tmp_path: Path) -> None:
    """A refused command on record has its answer in words alone; where one has a field, another answer is found."""
    records = with_a_hold(
        list(evidence_of(made.values(), {"pay.yaml": made.DEAF})), "deploy", installation="anotherinstallation"
    )
    record(tmp_path / "new.parquet", records)
    taken = [one.record for one in Recording(tmp_path / "new.parquet").decisions(0)]
    answer = b',"answer":{"command":"lock","result":"refused","because":"it is of another installation"}'
    assert answer in b"".join(taken)
    assert check(Recording(tmp_path / "new.parquet")).identical

    record(tmp_path / "old.parquet", records, [one.replace(answer, b"") for one in taken])
    verdict = check(Recording(tmp_path / "old.parquet"))
    assert verdict.identical, verdict.difference

    record(tmp_path / "other.parquet", records, [one.replace(b'"result":"refused"', b'"result":"done"') for one in taken])
    assert "differs in answer" in check(Recording(tmp_path / "other.parquet")).difference
