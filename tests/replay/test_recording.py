"""Recordings: what is written, what is refused, and what is left behind when it goes wrong."""

from __future__ import annotations

import json
import os
import random
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import msgspec
import pyarrow.parquet as pq
import pytest
from patience import patient
from replay import made

from failshut_breakers.decisions.decision import decode_decision, encode_decision
from failshut_breakers.evidence.records import decode_run, encode_run
from failshut_breakers.governor import Governor
from failshut_replay.errors import RecordingError
from failshut_replay.recording import writer
from failshut_replay.recording.manifest import KEY, encode_manifest
from failshut_replay.recording.reader import Recording
from failshut_replay.recording.record import Evidence, record
from failshut_replay.replay.verdict import check
from failshut_replay.sources.front_door import evidence_of


def evidence(count: int = 800) -> list[Evidence]:
    return list(evidence_of(made.values(count), {"pay.yaml": made.DRIFT}))


def decided(records: list[Evidence]) -> list[bytes]:
    """What a governor decides over them."""
    governor = Governor(0, decode_run(records[0].record).log, lambda gate: True)
    return [encode_decision(one) for at in records for one in governor.step(at.offset, decode_run(at.record))]


def left_behind(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir())


def test_a_recording_holds_what_went_in(tmp_path: Path) -> None:
    """Every evidence record stands in it as it was, with its offset and time, and every decision that was taken."""
    records = evidence()
    taken = decided(records)
    record(tmp_path / "a.parquet", records, taken)
    opened = Recording(tmp_path / "a.parquet")
    assert [tuple(one) for one in opened.evidence(0)] == [tuple(one) for one in records]
    assert [one.record for one in opened.decisions(0)] == taken
    assert opened.manifest.policies[0].files == {"pay.yaml": made.DRIFT}
    assert opened.manifest.gates == {"pay": 0}
    assert {"python", "failshut", "river"} <= set(opened.manifest.made_by)


def test_an_analyst_reads_it_without_us(incident: Recording) -> None:
    """The decisions are plain columns: when, which gate, what, over which cause."""
    table = pq.read_table(incident.path).to_pylist()
    closings = [row for row in table if row["kind"] == "decision" and row["cause"] == "drift"]
    assert closings
    assert closings[0]["gate"] == "pay"
    assert closings[0]["what"] == "close"
    assert closings[0]["time"].tzinfo is not None


def test_decisions_come_in_any_order_and_more_than_once(tmp_path: Path) -> None:
    """A standby writes what the first one wrote, and a restarted worker writes again: each is kept once, in order."""
    records = evidence()
    taken = decided(records)
    twice = [*taken, *taken[3:]]
    random.Random(3).shuffle(twice)
    record(tmp_path / "a.parquet", records, twice)
    opened = Recording(tmp_path / "a.parquet")
    assert sorted(one.record for one in opened.decisions(0)) == sorted(taken)
    assert check(opened).identical


@pytest.mark.usefixtures("signed_often")
def test_two_governors_that_differ_are_told_of(tmp_path: Path) -> None:
    """Two decisions about a gate's state over one record cannot both have been right, and no replay is identical to both."""
    records = evidence()
    taken = decided(records)
    other = encode_decision(msgspec.structs.replace(decode_decision(taken[5]), because="something else"))
    manifest = record(tmp_path / "a.parquet", records, [*taken, other])
    assert len(manifest.differing) == 1
    assert not check(Recording(tmp_path / "a.parquet")).identical


def test_it_is_written_in_row_groups(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A recording is written and read in pieces of bounded size, whatever its length."""
    monkeypatch.setattr(writer, "GROUP_ROWS", 50)
    opened = made.recording(tmp_path / "a.parquet")
    assert len(opened.manifest.groups) > 4
    assert max(group.rows for group in opened.manifest.groups) == 50
    assert check(opened).identical


def test_the_same_evidence_makes_the_same_digest(tmp_path: Path) -> None:
    """A recording's digest is of what it holds, not of when or where it was written."""
    assert made.recording(tmp_path / "a.parquet").digest == made.recording(tmp_path / "b.parquet").digest


# --- refused ---


def test_a_truncated_file_is_refused(incident: Recording, tmp_path: Path) -> None:
    """A file that was cut anywhere is refused in words, not with a stack of Parquet's own."""
    data = incident.path.read_bytes()
    for length in (0, 3, len(data) // 2, len(data) - 1):
        (tmp_path / "cut.parquet").write_bytes(data[:length])
        with pytest.raises(RecordingError, match="truncated"):
            Recording(tmp_path / "cut.parquet")


def test_one_changed_record_is_found(incident: Recording, tmp_path: Path) -> None:
    """A record that was changed is found before anything of its row group is used."""

    def change(rows: list[dict[str, object]]) -> list[dict[str, object]]:
        if rows[0]["kind"] == "evidence":
            run = decode_run(rows[20]["record"])  # type: ignore[arg-type]
            rows[20]["record"] = encode_run(msgspec.structs.replace(run, append_ms=run.append_ms + 1))
        return rows

    forged = made.rewrite(incident.path, change, tmp_path / "forged.parquet")
    with pytest.raises(RecordingError, match="not as it was made"):
        check(Recording(forged))


@pytest.mark.parametrize("column", ["time", "offset", "gate", "cause", "because", "breaker", "what"])
def test_every_column_is_covered_by_the_digest(incident: Recording, tmp_path: Path, column: str) -> None:
    """What an analyst reads is protected like what a replay reads."""

    def change(rows: list[dict[str, object]]) -> list[dict[str, object]]:
        value = rows[-1][column]
        if isinstance(value, str):
            rows[-1][column] = value + "!"
        elif isinstance(value, int):
            rows[-1][column] = value + 1
        else:
            rows[-1][column] = value + type(value - value)(seconds=1)  # type: ignore[operator]
        return rows

    opened = Recording(made.rewrite(incident.path, change, tmp_path / "forged.parquet"))
    with pytest.raises(RecordingError, match="not as it was made"):
        list(opened.decisions(0))


def test_a_changed_footer_is_found(incident: Recording, tmp_path: Path) -> None:
    """Another policy in the footer is another digest."""
    footer = encode_manifest(incident.manifest).replace(b"3s", b"9s")
    forged = made.rewrite(incident.path, lambda rows: rows, tmp_path / "forged.parquet", footer)
    with pytest.raises(RecordingError, match="footer"):
        Recording(forged)


def test_a_row_group_cut_out_is_found(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Leaving out a piece is as visible as changing one."""
    monkeypatch.setattr(writer, "GROUP_ROWS", 50)
    path = made.recording(tmp_path / "a.parquet").path
    made.rewrite(path, lambda rows: rows[:-1] if len(rows) == 50 else rows)
    with pytest.raises(RecordingError, match="cut"):
        Recording(path)


def test_a_newer_format_is_refused_by_name(incident: Recording, tmp_path: Path) -> None:
    """A recording from a newer version says that it is one."""
    newer = json.loads(encode_manifest(incident.manifest)) | {"version": 3, "unknown": True}
    path = made.rewrite(incident.path, lambda rows: rows, tmp_path / "newer.parquet", json.dumps(newer).encode())
    with pytest.raises(RecordingError, match="format 3, and this version of Failshut reads up to 2"):
        Recording(path)


def test_missing_columns_are_named(incident: Recording, tmp_path: Path) -> None:
    """A recording that went through somebody's tool and lost columns is refused, with their names."""
    table = pq.read_table(incident.path).drop_columns(["record", "cause"])
    held = {KEY: encode_manifest(incident.manifest), b"failshut.digest": incident.digest.encode()}
    pq.write_table(table.replace_schema_metadata(held), tmp_path / "less.parquet")
    with pytest.raises(RecordingError, match="cause, record"):
        Recording(tmp_path / "less.parquet")


def test_a_parquet_file_of_somebody_else_is_no_recording(tmp_path: Path, incident: Recording) -> None:
    """It says what to do with plain files."""
    pq.write_table(pq.read_table(incident.path).replace_schema_metadata({}), tmp_path / "plain.parquet")
    with pytest.raises(RecordingError, match="--import"):
        Recording(tmp_path / "plain.parquet")


def test_an_empty_recording_is_refused(tmp_path: Path) -> None:
    """Where there is no evidence nothing is written."""
    with pytest.raises(RecordingError, match="no evidence"):
        record(tmp_path / "a.parquet", [])
    assert left_behind(tmp_path) == []


def test_a_duplicate_is_dropped_and_a_contradiction_refused(tmp_path: Path) -> None:
    """The same record at the same offset counts once; another record at an offset that was read is refused."""
    records = evidence(100)
    record(tmp_path / "a.parquet", [*records[:9], records[8], *records[9:]])
    assert check(Recording(tmp_path / "a.parquet")).identical
    with pytest.raises(RecordingError, match="comes twice, with different records"):
        record(tmp_path / "b.parquet", [*records[:9], records[8]._replace(record=records[6].record)])
    with pytest.raises(RecordingError, match="comes after"):
        record(tmp_path / "b.parquet", [*records[:9], records[3]])
    assert left_behind(tmp_path) == ["a.parquet"]


def test_duplicated_offsets_in_a_file_are_refused(incident: Recording, tmp_path: Path) -> None:
    """A file whose digests are right and whose offsets are not is no log."""
    group = incident.manifest.groups[0]
    rows = pq.ParquetFile(incident.path).read_row_group(0).to_pylist()
    rows[6]["offset"] = rows[5]["offset"]
    told = [tuple(row.values()) for row in rows]
    told = [(*row[:3], round(row[3].timestamp() * 1000), *row[4:]) for row in told]
    groups = [msgspec.structs.replace(group, digest=writer.digest_of_rows(told)), *incident.manifest.groups[1:]]
    manifest = msgspec.structs.replace(incident.manifest, groups=groups)
    path = made.rewrite(
        incident.path,
        lambda held: rows if held[0]["kind"] == "evidence" else held,
        tmp_path / "b.parquet",
        encode_manifest(manifest),
    )
    made_digest = pq.ParquetFile(path)  # the digest of the footer is the forger's to write
    held = dict(made_digest.metadata.metadata) | {b"failshut.digest": manifest.digest.encode()}
    tables = [made_digest.read_row_group(number) for number in range(made_digest.num_row_groups)]
    with pq.ParquetWriter(tmp_path / "c.parquet", tables[0].schema) as out:
        for table in tables:
            out.write_table(table, row_group_size=len(table))
        out.add_key_value_metadata({key: value for key, value in held.items() if key != b"ARROW:schema"})
    with pytest.raises(RecordingError, match="offset 5 after 5"):
        check(Recording(tmp_path / "c.parquet"))


def test_a_gate_that_is_not_in_it_is_named(tmp_path: Path) -> None:
    """It says which gates there are."""
    with pytest.raises(RecordingError, match=r"gate nope; it speaks of pay"):
        record(tmp_path / "a.parquet", evidence(50), gates=["nope"])
    assert left_behind(tmp_path) == []


def test_a_recording_that_is_there_is_not_replaced(tmp_path: Path) -> None:
    """Not without being told to, and not by half."""
    made.recording(tmp_path / "a.parquet")
    before = (tmp_path / "a.parquet").read_bytes()
    with pytest.raises(RecordingError, match="there already"):
        record(tmp_path / "a.parquet", evidence(50))

    def broken() -> Iterator[Evidence]:
        yield from evidence(50)
        raise OSError(28, "No space left on device")

    with pytest.raises(RecordingError, match="No space left"):
        record(tmp_path / "a.parquet", broken(), force=True)
    assert (tmp_path / "a.parquet").read_bytes() == before
    assert left_behind(tmp_path) == ["a.parquet"]


def test_interrupted_it_leaves_nothing(tmp_path: Path) -> None:
    """Ctrl-C in the middle: no file under the final name, and no other."""

    def interrupted() -> Iterator[Evidence]:
        yield from evidence(200)
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        record(tmp_path / "a.parquet", interrupted())
    assert left_behind(tmp_path) == []


@pytest.mark.slow
def test_on_a_full_disk_it_leaves_nothing(tmp_path: Path) -> None:
    """A file that may not grow further is what a full disk looks like; a process of its own meets it for real."""
    script = (
        "import resource, sys; from pathlib import Path; sys.path.insert(0, sys.argv[2]); import signal\n"
        "signal.signal(signal.SIGXFSZ, signal.SIG_IGN)\n"
        "from replay import made; from failshut_replay.recording.record import record; from failshut_replay.errors import *\n"
        "from failshut_replay.sources.front_door import evidence_of\n"
        "from failshut_replay.recording import writer; writer.GROUP_ROWS = 100\n"
        "resource.setrlimit(resource.RLIMIT_FSIZE, (20_000, 20_000))\n"
        "try: record(Path(sys.argv[1]), evidence_of(made.values(5000), {'p.yaml': made.DRIFT}))\n"
        "except RecordingError as error: print('refused:', error)\n"
    )
    arguments = [sys.executable, "-c", script, str(tmp_path / "a.parquet"), str(Path(__file__).parents[1])]
    done = subprocess.run(arguments, capture_output=True, text=True, timeout=patient(120), env={**os.environ})
    assert done.stdout.startswith("refused:"), done.stderr
    assert left_behind(tmp_path) == []
