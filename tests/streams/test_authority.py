"""A policy authority: an operator brings in no bundle that policy keys have not signed, and what is wrong closes gates."""

from __future__ import annotations

import json
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest
from streams.front_door import EVIDENCE_ID, INSTALLATION, LOG, PARTITIONS, START_MS, at_ms, partition_of
from streams.test_control import KEY, MONITOR, STRANGER, TERM, WHO, governor_after, policy, record

from failshut.signing import KeySet, SigningKey, UnusableKey
from failshut_breakers.command import SIGNATURES_MAX, Activate
from failshut_breakers.evidence.records import Activation
from failshut_breakers.policy.authority import (
    NEEDED,
    POLICY_KEYS,
    POLICY_KEYS_MAX,
    TYP_BUNDLE,
    Authority,
    authority_of,
    digest_of_files,
    sign_bundle,
)
from failshut_streams.control import cutter as cutter_module
from failshut_streams.control.cutter import ControlCut, ControlCutter
from failshut_streams.control.operators import (
    OperatorsFile,
    OperatorsInForce,
    OperatorsUnreadable,
    Powers,
    encode_named,
    read_named,
)
from failshut_streams.transport import Record
from failshut_streams.transport.front_door import APPEND_TIME

ANN, BEN = SigningKey.generate(), SigningKey.generate()
ONE = Authority(ANN.key_set())
TWO = Authority(ANN.key_set().joined(BEN.key_set()), 2)
LATE_MS = START_MS + 10_000_000
FILES = {f"{gate}.yaml": policy(gate) for gate in "ab"}
OTHER = {**FILES, "a.yaml": policy("a", "pay/fee")}


def signature(key: SigningKey, files: Mapping[str, str] = FILES, version: int = 2, **said: Any) -> str:
    whole = {"by": "ann", "signed_ms": START_MS, "expires_ms": LATE_MS, "installations": [INSTALLATION], **said}
    return sign_bundle(key, files, version, whole.pop("installations"), **whole)


def bundle(*signatures: str, files: Mapping[str, str] = FILES, version: int = 2) -> Activate:
    return Activate(**WHO, version=version, files=dict(files), signatures=signatures)


def named(offset: int, authority: Authority | None) -> Record:
    key, value = encode_named(MONITOR, Powers(KEY.key_set(), authority), START_MS + offset, "w", EVIDENCE_ID)
    return Record(offset, at_ms(offset), APPEND_TIME, key, value, ())


def router() -> ControlCutter:
    return ControlCutter(OperatorsInForce(None, MONITOR.key_set(), EVIDENCE_ID), LOG, "r", partition_of, 100)


class Read:
    """Control as one router reads it record after record, another one whole, and governors after both."""

    def __init__(self, *records: Record) -> None:
        self.cutter = router()
        self.cuts: list[ControlCut] = [self.cutter.everything(records[:2], 2)]
        for at in records[2:]:
            self.cuts.append(self.cutter.cut([at], at.offset + 1))
        later = router()
        whole = later.everything(records, records[-1].offset + 1)
        self.faults = {gate: entry.fault for gate, entry in self.cutter.book.entries.items()}
        assert later.book.entries == self.cutter.book.entries
        assert later.book.version == self.cutter.book.version
        for partition in range(PARTITIONS):
            for governor in (governor_after(partition, *self.cuts), governor_after(partition, whole)):
                assert governor.book.entries == self.cutter.book.entries

    @property
    def dead(self) -> list[str]:
        return [letter.reason for cut in self.cuts for letter in cut.dead]

    @property
    def open(self) -> list[str]:
        return sorted(gate for gate, entry in self.cutter.book.entries.items() if entry.policy is not None)


def after(authority: Authority | None, *commands: Activate) -> Read:
    return Read(
        named(0, authority), record(1, TERM), *(record(number, command) for number, command in enumerate(commands, start=2))
    )


def test_a_bundle_comes_into_force_by_both() -> None:
    """The authority signed it, and an operator puts it in force."""
    assert after(ONE, bundle(signature(ANN))).open == ["a", "b"]
    assert after(TWO, bundle(signature(ANN), signature(BEN))).open == ["a", "b"]
    assert after(TWO, bundle("rubbish", signature(BEN), signature(STRANGER), signature(ANN))).open == ["a", "b"]


def test_without_an_authority_an_operator_is_enough() -> None:
    """Signatures are kept, and count for nothing. Without any, a command is what versions wrote that know of none."""
    assert "signatures" not in bundle().model_dump(mode="json")
    assert bundle("x").model_dump(mode="json")["signatures"] == ["x"]
    assert after(None, bundle()).open == ["a", "b"]
    assert after(None, bundle("rubbish")).open == ["a", "b"]


WRONG: dict[str, tuple[Authority, Activate, str]] = {
    "unsigned": (ONE, bundle(files=OTHER, version=3), "0 of 1 signatures of policy keys: it is not signed by others"),
    "torn": (ONE, bundle(signature(ANN, version=3), files=OTHER, version=3), "signed another bundle"),
    "a file more": (
        ONE,
        bundle(signature(ANN, {"a.yaml": policy("a")}, 3), files=OTHER, version=3),
        "signed another bundle",
    ),
    "another version": (ONE, bundle(signature(ANN, OTHER, 3), files=OTHER, version=4), "signed another bundle"),
    "expired": (ONE, bundle(signature(ANN, OTHER, 3, expires_ms=at_ms(3)), files=OTHER, version=3), "expired"),
    "of a stranger": (ONE, bundle(signature(STRANGER, OTHER, 3), files=OTHER, version=3), "UnknownKey"),
    "of the operator": (ONE, bundle(signature(KEY, OTHER, 3), files=OTHER, version=3), "UnknownKey"),
    "of the monitor": (ONE, bundle(signature(MONITOR, OTHER, 3), files=OTHER, version=3), "UnknownKey"),
    "changed": (ONE, bundle(signature(ANN, OTHER, 3)[:-8] + "AAAAAAAA", files=OTHER, version=3), "no signature"),
    "another type": (ONE, bundle(ANN.sign({}, "failshut-command+jwt"), files=OTHER, version=3), "WrongType"),
    "claims of another shape": (ONE, bundle(ANN.sign({"files": 1}, TYP_BUNDLE), files=OTHER, version=3), "ValidationError"),
    "for another installation": (
        ONE,
        bundle(signature(ANN, OTHER, 3, installations=["elsewhere"]), files=OTHER, version=3),
        "another installation",
    ),
    "one of two": (TWO, bundle(signature(ANN, OTHER, 3), files=OTHER, version=3), "1 of 2"),
    "one of two, twice": (
        TWO,
        bundle(signature(ANN, OTHER, 3), signature(ANN, OTHER, 3, by="ben"), files=OTHER, version=3),
        "1 of 2",
    ),
    "rolled back": (ONE, bundle(signature(ANN, OTHER, 1), files=OTHER, version=1), "rolled back"),
}


@pytest.mark.parametrize(("authority", "wrong", "why"), WRONG.values(), ids=WRONG.keys())
def test_what_is_wrong_with_a_bundle_closes_the_gates_that_it_names(authority: Authority, wrong: Activate, why: str) -> None:
    """It changes nothing else: the version stays, and so does a gate that it does not name."""
    first = bundle(signature(ANN, {**FILES, "c.yaml": policy("c")}), signature(BEN, {**FILES, "c.yaml": policy("c")}))
    first = first.model_copy(update={"files": {**FILES, "c.yaml": policy("c")}})
    read = after(authority, first, wrong)
    assert read.open == ["c"]
    assert why in read.faults["a"]
    assert why in read.faults["b"]
    assert any(why in reason for reason in read.dead)
    assert read.cutter.book.version == 2
    again = after(authority, first, wrong, bundle(signature(ANN, version=9), signature(BEN, version=9), version=9))
    assert again.open == ["a", "b"], "the next good one opens them"


def test_a_signature_counts_until_it_expires() -> None:
    """By the time at which control took the command, to the millisecond; what is in force then stays so."""
    good = bundle(signature(ANN, expires_ms=at_ms(2) + 1))
    assert after(ONE, good).open == ["a", "b"]
    assert Read(named(0, ONE), record(1, TERM), record(2, good), named(50, ONE)).open == ["a", "b"]


def test_an_authority_that_is_named_later_asks_the_bundle_in_force() -> None:
    """Policies that it signed stay; those that it did not sign close their gates, whoever brought them in."""
    signed, unsigned = record(2, bundle(signature(ANN))), record(2, bundle())
    assert Read(named(0, None), record(1, TERM), signed, named(3, ONE)).open == ["a", "b"]
    read = Read(named(0, None), record(1, TERM), unsigned, named(3, ONE))
    assert read.open == []
    assert "0 of 1 signatures" in read.faults["a"]
    good = record(4, bundle(signature(ANN, version=3), version=3))
    back = Read(named(0, None), record(1, TERM), unsigned, named(3, ONE), good)
    assert back.open == ["a", "b"]


def test_a_policy_key_is_rotated_without_a_closed_gate_and_one_that_is_taken_out_closes_what_it_signed() -> None:
    """The new key comes beside the former, signs what is in force anew, and the former goes."""
    both, new = Authority(ANN.key_set().joined(BEN.key_set())), Authority(BEN.key_set())
    start = (named(0, ONE), record(1, TERM), record(2, bundle(signature(ANN))), named(3, both))
    anew = record(4, bundle(signature(BEN, version=3), version=3))
    assert Read(*start).open == ["a", "b"]
    assert Read(*start, anew, named(5, new)).open == ["a", "b"]
    read = Read(*start, named(4, new))
    assert read.open == []
    assert Read(*start, named(4, new), named(5, both)).open == [], "a key that comes back opens nothing by itself"


def test_every_gate_of_a_large_bundle_closes_when_its_key_is_taken_out(monkeypatch: pytest.MonkeyPatch) -> None:
    """Names are told in pieces, and none is left out."""
    monkeypatch.setattr(cutter_module, "NAMES_MAX", 7)
    files = {f"{number}.yaml": policy(f"gate-{number}") for number in range(30)}
    many = record(2, bundle(signature(ANN, files), files=files))
    read = Read(named(0, ONE), record(1, TERM), many, named(3, Authority(BEN.key_set())))
    assert read.open == []
    told = [notice for cut in read.cuts for at, run in cut.runs for notice in run.notices if at == 0 and run.upto == 4]
    assert [len(notice.files) for notice in told if isinstance(notice, Activation)] == [7, 7, 7, 7, 2]


def test_an_authority_has_a_digest_of_its_own() -> None:
    """A router that knows nothing of it, or another one, does not agree with those that know it."""
    said = [None, ONE, TWO, Authority(TWO.keys), Authority(BEN.key_set())]
    assert len({Powers(KEY.key_set(), authority).digest for authority in said}) == len(said)
    assert OperatorsInForce(KEY.key_set(), None, EVIDENCE_ID).digest == Powers(KEY.key_set()).digest
    joined = KEY.key_set().joined(ANN.key_set())
    assert Powers(joined).digest != Powers(KEY.key_set(), ONE).digest


@pytest.mark.parametrize("key", [KEY, MONITOR], ids=["an operator's", "the monitor's"])
def test_a_policy_key_is_nobody_elses(key: SigningKey) -> None:
    """Who could both sign a bundle and bring it in would be two persons in one."""
    with pytest.raises(OperatorsUnreadable, match="it must be neither"):
        read_named(named(0, Authority(key.key_set())), MONITOR.key_set(), EVIDENCE_ID)


UNUSABLE = [
    {NEEDED: 1},
    {POLICY_KEYS: []},
    {POLICY_KEYS: "ann"},
    {POLICY_KEYS: None},
    *({POLICY_KEYS: ANN.key_set().to_dict()["keys"], NEEDED: needed} for needed in (0, 2, True, 1.0, "1", None)),
    {POLICY_KEYS: ANN.key_set().to_dict()["keys"] * (POLICY_KEYS_MAX + 1)},
    {POLICY_KEYS: [{"kty": "OKP", "crv": "Ed25519", "x": "AA", "d": "AA"}]},
]


@pytest.mark.parametrize("members", UNUSABLE, ids=range(len(UNUSABLE)))
def test_an_authority_that_cannot_be_used_is_no_absent_one(members: dict[str, Any], tmp_path: Path) -> None:
    """A file that says something of an authority and cannot be understood changes nobody's powers."""
    with pytest.raises(UnusableKey):
        authority_of(members)
    path = tmp_path / "operators.jwks.json"
    path.write_text(json.dumps({**KEY.key_set().to_dict(), **ONE.members()}))
    os.utime(path, (1, 1))
    file = OperatorsFile(path)
    assert file.look()
    path.write_text(json.dumps({**KEY.key_set().to_dict(), **members}))
    assert not file.look()
    assert file.fault
    assert file.powers is not None
    assert file.powers.digest == Powers(KEY.key_set(), ONE).digest


def test_a_file_whose_authority_changed_is_another_file(tmp_path: Path) -> None:
    """Workers name it on control."""
    path = tmp_path / "operators.jwks.json"
    KEY.key_set().write(path)
    file = OperatorsFile(path)
    assert file.look()
    path.write_text(json.dumps({**KEY.key_set().to_dict(), **ONE.members()}))
    assert file.look()
    assert not file.look()


def test_so_many_may_sign() -> None:
    """The bound of a bundle's signatures and of what an authority may ask for is one."""
    keys = [SigningKey.generate() for _ in range(SIGNATURES_MAX + 1)]
    with pytest.raises(UnusableKey):
        Authority(KeySet([key.public for key in keys]), SIGNATURES_MAX + 1)
    all_of_them = Authority(KeySet([key.public for key in keys]), SIGNATURES_MAX)
    assert after(all_of_them, bundle(*(signature(key) for key in keys[1:]))).open == ["a", "b"]
    with pytest.raises(ValueError, match="signatures"):
        bundle(*["x"] * (SIGNATURES_MAX + 1))


def test_the_digest_of_files_can_be_made_elsewhere() -> None:
    """The order of a mapping does not matter; every name and text does."""
    assert digest_of_files({"b": "2", "a": "1"}) == digest_of_files({"a": "1", "b": "2"})
    assert (
        len({digest_of_files(files) for files in ({"a": "1", "b": "2"}, {"a": "12", "b": ""}, {"a1": "", "b": "2"}, {})}) == 4
    )
    assert digest_of_files({"a": "\ud800"})
