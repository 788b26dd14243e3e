"""A snapshot is believed if this code made it, of this partition, with this key; else it is as good as absent."""

from __future__ import annotations

import hmac
import pickle
import zlib
from itertools import islice
from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from failshut.signing import SigningKey
from failshut_breakers.evidence.log import EvidenceLog
from failshut_breakers.evidence.records import Place
from failshut_breakers.gate.state import Gate
from failshut_breakers.gate.turn import Turn
from failshut_breakers.governor import Governor
from failshut_breakers.policy.policy import Entry, parse_policy
from failshut_detectors import Cusum
from failshut_streams.governor import snapshots
from failshut_streams.governor.snapshots import BadSnapshot, Snapshots, meaning_of, snapshot_key

KEY = b"k" * 32


def owns(gate: str) -> bool:
    return gate == "mine"


def governor(offset: int = 41) -> Governor:
    made = Governor(2, EvidenceLog("evidence-id", 4), owns)
    made.offset = offset
    return made


def written(snapshots: Snapshots, of: Governor, table: dict[str, bytes], most: int = 1 << 30) -> list[str]:
    """Write a snapshot into a table, or the beginning of one; return the names."""
    names = []
    for name, data in islice(snapshots.cut(of), most):
        names.append(name)
        if data is None:
            del table[name]
        else:
            table[name] = data
    return names


def taken(of: Governor) -> dict[str, bytes]:
    table: dict[str, bytes] = {}
    written(Snapshots(2, KEY), of, table)
    return table


TABLE = taken(governor())
SNAPSHOT = TABLE["2"]


def restore(data: bytes, key: bytes = KEY, evidence_id: str = "evidence-id", partition: int = 2) -> Governor:
    return restored(TABLE | {str(partition): data}, key, evidence_id, partition)


def restored(table: dict[str, bytes], key: bytes = KEY, evidence_id: str = "evidence-id", partition: int = 2) -> Governor:
    governor = Snapshots(partition, key).restore(table, EvidenceLog(evidence_id, 4), owns)
    assert governor is not None
    return governor


def test_a_snapshot_is_restored_as_it_was_taken() -> None:
    """Everything but who owns what comes back; that is given anew."""
    again = restore(SNAPSHOT)
    assert again.__getstate__().keys() == governor().__getstate__().keys()
    assert (again.offset, again.whole, again.partition) == (41, True, 2)
    assert again.owns is owns


@given(st.integers(0, len(SNAPSHOT) - 1), st.integers(1, 255))
def test_no_changed_byte_is_believed(at: int, by: int) -> None:
    """Nothing of a snapshot can be changed, its header and its tag included."""
    changed = bytearray(SNAPSHOT)
    changed[at] ^= by
    with pytest.raises(BadSnapshot, match="authentic"):
        restore(bytes(changed))


@pytest.mark.parametrize(
    "data",
    [b"", b"x", SNAPSHOT[:32], SNAPSHOT[:-1], SNAPSHOT + b"x"],
    ids=["nothing", "a-byte", "the-tag-alone", "cut-short", "added-to"],
)
def test_a_torn_snapshot_is_refused(data: bytes) -> None:
    """A snapshot that was cut short or added to is not authentic."""
    with pytest.raises(BadSnapshot):
        restore(data)


def test_a_snapshot_stands_for_its_own_partition_alone() -> None:
    """Another partition's, another topic's and another key's are refused."""
    for other in ({"partition": 1}, {"evidence_id": "replaced"}, {"key": b"j" * 32}):
        with pytest.raises(BadSnapshot):
            restore(SNAPSHOT, **other)


def test_keys_are_derived_from_the_signing_key() -> None:
    """The same signing key gives the same snapshot key, another one another."""
    one, two = SigningKey.generate(), SigningKey.generate()
    assert snapshot_key(one) == snapshot_key(one) != snapshot_key(two)


class Trap:
    """Raises when it is unpickled, as a state of other code may."""

    def __reduce__(self) -> Any:
        return (int, ("not a number",))


def signed(state: bytes, offset: int = 41, **changes: Any) -> bytes:
    envelope = snapshots._Envelope(snapshots.VERSION, snapshots._code(), "evidence-id", 2, offset, state, [])
    body = msgspec.msgpack.encode(msgspec.structs.replace(envelope, **changes))
    return hmac.digest(KEY, body, "sha256") + body


@pytest.mark.slow
def test_a_snapshot_by_another_version_of_a_plug_in_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    """A plug-in's state is code of somebody else's: with another version, or without it, the partition is replayed."""
    snapshots._code.cache_clear()
    monkeypatch.setattr(snapshots, "plugin_versions", lambda: {"their-detectors": "1.0"})
    theirs = taken(governor())
    assert restored(theirs).offset == 41
    for now in ({"their-detectors": "1.1"}, {}):
        snapshots._code.cache_clear()
        monkeypatch.setattr(snapshots, "plugin_versions", lambda now=now: now)
        with pytest.raises(BadSnapshot, match=r"made by .*their-detectors 1\.0"):
            restored(theirs)
    snapshots._code.cache_clear()


@pytest.mark.slow
@pytest.mark.parametrize("library", ["river", "numpy", "scipy", "cel-expr-python"])
def test_a_snapshot_by_another_version_of_a_library_is_refused(library: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """What a condition computes with may compute otherwise in another version: the partition is replayed."""
    table = taken(governor())
    assert restored(table).offset == 41
    known: Any = snapshots.version  # type: ignore[attr-defined]
    with monkeypatch.context() as patch:
        patch.setattr(snapshots, "version", lambda name: "99.9" if name == library else known(name))
        snapshots._code.cache_clear()
        with pytest.raises(BadSnapshot, match=rf"this is .*{library} 99\.9"):
            restored(table)
    snapshots._code.cache_clear()


def test_a_detector_of_another_state_version_makes_a_snapshot_unusable(monkeypatch: pytest.MonkeyPatch) -> None:
    """State that a detector refuses leads to what a missing snapshot leads to, however deep in the governor it lies."""
    for text in ("{series: s/x, detector: cusum}", "{series: s/x, detector: [cusum, ewma], votes: 2, within: 9}"):
        holding = governor()
        gate = holding.gates.setdefault("mine", Gate("mine"))
        policy = parse_policy(f"gate: mine\npermit: {{ttl: 3s}}\nconditions: [drift: {text}]\n")
        gate.activate(Entry("mine", "mine.yaml", "digest", policy, ""), 1, Place("control", 0, 0, 0), "operator", Turn())
        table = taken(holding)
        assert restored(table).gates["mine"].conditions[0].name == "drift:s/x"
        with monkeypatch.context() as patch:
            patch.setattr(Cusum, "version", 99)
            with pytest.raises(BadSnapshot, match=r"StateVersionError: cusum: state of version \d+, this code reads 99"):
                restored(table)


@pytest.mark.parametrize(
    "data",
    [
        pytest.param(signed(zlib.compress(pickle.dumps(Trap()))), id="it-raises-when-read"),
        pytest.param(signed(zlib.compress(b"\x80\x05cnowhere\nNothing\n.")), id="a-class-that-is-gone"),
        pytest.param(signed(zlib.compress(pickle.dumps("text"))), id="no-governor"),
        pytest.param(signed(zlib.compress(pickle.dumps(governor())), offset=40), id="another-offset"),
        pytest.param(signed(b"not compressed"), id="not-compressed"),
        pytest.param(signed(zlib.compress(b"\x00" * (snapshots.BYTES_MAX + 1))), id="a-bomb"),
        pytest.param(signed(zlib.compress(pickle.dumps(governor())), version=99), id="another-version"),
        pytest.param(signed(zlib.compress(pickle.dumps(governor())), code="older"), id="other-code"),
        pytest.param(hmac.digest(KEY, b"\x01", "sha256") + b"\x01", id="no-envelope"),
    ],
)
def test_what_cannot_be_used_is_refused_with_a_reason(data: bytes) -> None:
    """However a snapshot is unusable, the answer is BadSnapshot: the partition is replayed, and the worker goes on."""
    with pytest.raises(BadSnapshot):
        restore(data)


def test_a_comment_in_the_source_is_no_other_code() -> None:
    """An upgrade that changes words alone reads the snapshots of before; one that changes a number does not."""
    source = b'"""Words."""\nA = 1\n\n\ndef f(x: int) -> int:\n    """Words."""\n    return x + 1\n'
    assert meaning_of(source) == meaning_of(source.replace(b"Words", b"Other words").replace(b"A = 1", b"A  =  1  # one"))
    assert meaning_of(source) != meaning_of(source.replace(b"x + 1", b"x + 2"))
    assert meaning_of(source) != meaning_of(source.replace(b"A = 1", b'A = "1"'))
    assert meaning_of(b"no python (") == b"no python ("
