"""A recording of before version 0.2, with a command `hold` and a breaker HELD in it, replays to the same decisions."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import msgspec
import pytest
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


FINISHING = b'"in_flight":"finish"'
CANCELLING = b'"in_flight":"cancel"'


Former = Callable[..., Recording]


@pytest.fixture
def former(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Former:
    """Makes a recording of a given meaning of policies, whose decisions let work finish; `change` is made in them."""

    def make(text: str, meaning: int, change: tuple[bytes, bytes] = (b"", b"")) -> Recording:
        path = tmp_path / "former.parquet"
        records = list(evidence_of(made.values(), {"pay.yaml": text}))
        record(path, records, force=True)
        taken = [one.record for one in Recording(path).decisions(0)]
        under = [CANCELLING in one and b'"policy":"sha256:' in one for one in taken]
        assert any(under)
        old = [
            one.replace(CANCELLING, FINISHING).replace(*change) if by_policy else one
            for one, by_policy in zip(taken, under, strict=True)
        ]
        with monkeypatch.context() as patch:
            patch.setattr("failshut_replay.recording.record.MEANING", meaning)
            record(path, records, old, force=True)
        return Recording(path)

    return make


def test_a_recording_of_before_closings_cancelled_by_default_says_so(former: Former) -> None:
    """Such a policy let work finish: the decisions are the same but for that, which is counted and told."""
    verdict = check(former(made.DEAF, meaning=2))
    assert verdict.identical, verdict.difference
    assert 0 < verdict.finished <= verdict.decisions
    assert f"{verdict.finished} decisions on record let running work finish" in verdict.told()
    assert "since version 0.2" in verdict.told()


def test_what_else_differs_is_still_found(former: Former) -> None:
    """Another field, a policy that says `cancel` itself, and a recording of the present meaning are differences as before."""
    other = former(made.DEAF, meaning=2, change=(b'"ttl_ms":3000', b'"ttl_ms":4000'))
    assert "differs in ttl_ms" in check(other).difference
    said = former(made.DEAF + "in_flight: cancel\n", meaning=2)
    assert "differs in in_flight" in check(said).difference
    present = former(made.DEAF, meaning=3)
    assert "differs in in_flight" in check(present).difference
