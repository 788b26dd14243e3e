"""Makes the proof of one leaf from a ledger on disk, and finds the leaf of a decision.

A decision is named by its leaf's index, or as `GATE@EPOCH`, as `failshut log` prints both. Limits: to find a decision by its
epoch every leaf is read, from the first on.
"""

from __future__ import annotations

from typing import Final

from failshut_ledger.disk.check import read_note
from failshut_ledger.disk.cosigned import read_cosigned
from failshut_ledger.disk.files import Files
from failshut_ledger.disk.reader import DiskTiles
from failshut_ledger.errors import Malformed
from failshut_ledger.leaves.envelope import split_envelope
from failshut_ledger.leaves.statement import DECISION, read_statement
from failshut_ledger.merkle.hashing import leaf_hash
from failshut_ledger.merkle.proofs import prove_inclusion, verify_inclusion
from failshut_ledger.notes.checkpoint import Checkpoint
from failshut_ledger.notes.note import split_note
from failshut_ledger.notes.proof import Proof

_OFFSET_MASK: Final = (1 << 40) - 1
"""The part of an epoch that is an offset."""


def find_leaves(files: Files, decision: str) -> list[int]:
    """Return the leaves of a decision: the one that changed the gate first, and then what was said under the same epoch.

    Raises:
        Malformed: it is neither an index nor GATE@EPOCH.
        Damaged, DiskFailed: the ledger cannot be read.
    """
    if decision.isascii() and decision.isdigit():
        return [int(decision)]
    gate, at, epoch = decision.rpartition("@")
    if not at or not (epoch.isascii() and epoch.isdigit() and len(epoch) <= 16):
        raise Malformed(f"a decision is named by its leaf's index, or as GATE@EPOCH: {decision[:200]!a}")
    offset = int(epoch) & _OFFSET_MASK
    changed: list[int] = []
    more: list[int] = []
    for index, leaf in DiskTiles(files).all_leaves(_checkpoint(files)[0].size):
        if gate.encode() not in split_envelope(leaf)[0]:
            continue
        said = read_statement(split_envelope(leaf)[0])
        predicate = said.predicate
        if said.predicate_type == DECISION and predicate.get("gate") == gate and predicate["epoch"] == epoch.zfill(16):
            (changed if predicate["evidence"]["offset"] == offset and predicate["does"] != "note" else more).append(index)
    return changed + more


def prove_leaf(files: Files, index: int) -> Proof:
    """Return the proof of a leaf. It is checked before it is handed out.

    It stands under the cosigned checkpoint where that holds the leaf, so that the cosignatures are in the proof. Otherwise it
    stands under the checkpoint that is there now.

    Raises:
        Malformed: the ledger has no such leaf.
        NotIncluded: the files do not agree with each other: see `check_tree`.
        Damaged, DiskFailed: the ledger cannot be read.
    """
    checkpoint, note = _checkpoint(files)
    cosigned = read_cosigned(files)
    if cosigned is not None and index < cosigned[0].size <= checkpoint.size:
        checkpoint, note = cosigned
    tiles = DiskTiles(files)
    leaf = tiles.leaf(index, checkpoint.size)
    hashes = tuple(prove_inclusion(tiles, index, checkpoint.size))
    verify_inclusion(leaf_hash(leaf), index, checkpoint.size, hashes, checkpoint.root)
    return Proof(index, hashes, note, leaf)


def _checkpoint(files: Files) -> tuple[Checkpoint, bytes]:
    note = read_note(files)
    return Checkpoint.parse(split_note(note)[0]), note
