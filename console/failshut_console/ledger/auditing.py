"""Carries out the commands that read a ledger or a proof, offline: `ledger verify`, `proof`, `verify`."""

from __future__ import annotations

import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from failshut.whole_file import write_whole
from failshut_console.exits import Exit, Trouble
from failshut_console.ledger.key_files import ledger_trouble
from failshut_console.ledger.witness_status import cosigned_by, load_policy
from failshut_ledger.disk.check import check_tree, read_note
from failshut_ledger.disk.cosigned import check_unforked, read_cosigned
from failshut_ledger.disk.files import Files
from failshut_ledger.disk.proving import find_leaves, prove_leaf
from failshut_ledger.disk.reader import DiskTiles
from failshut_ledger.errors import LedgerError, Malformed, NoQuorum
from failshut_ledger.leaves.chain import KeyChain
from failshut_ledger.notes.checkpoint import Checkpoint, open_checkpoint
from failshut_ledger.notes.keys import Verifier
from failshut_ledger.notes.note import split_note
from failshut_ledger.notes.policy import Policy
from failshut_ledger.notes.proof import PROOF_BYTES_MAX
from failshut_ledger.verdict import Verdict, examine


def verify_ledger(folder: Path, keys: Sequence[Verifier], policy: Policy | None = None) -> dict[str, Any]:
    """Check every leaf, every tile, every signature and the checkpoint of a ledger; return what it holds.

    The tree is made again from the leaves first, and the keys walked with it: the last key is the one that must have signed.
    With a policy, its witnesses must have cosigned a checkpoint of this tree.

    Raises:
        Trouble: something is not right; it says what, and where.
    """
    files, chain = Files(folder), KeyChain(keys)
    try:
        note = read_note(files)
        checkpoint = Checkpoint.parse(split_note(note)[0])
        check_tree(files, checkpoint, chain.take)
        open_checkpoint(note, chain.keys)
        position = checkpoint.position
        check_unforked(files, DiskTiles(files), checkpoint)
        cosigned = None if policy is None else cosigned_by(files, checkpoint, policy, int(time.time()))
        if policy is not None and cosigned is not None and not cosigned["quorum"]:
            by = ", ".join(sorted(cosigned["seconds"])) or "no witness"
            raise NoQuorum(f"the policy asks for {policy.quorum!a}, and {by} has cosigned a checkpoint of this ledger")
    except LedgerError as error:
        raise ledger_trouble(error) from error
    return {
        "origin": checkpoint.origin,
        "size": checkpoint.size,
        "root": checkpoint.root.hex(),
        "keys": [str(key) for key in chain.keys],
        "leaves": dict(sorted(chain.kinds.items())),
        "cosigned": cosigned,
        "position": None
        if position is None
        else {"topic": position.topic, "topic_id": position.topic_id, "offsets": dict(position.offsets)},
    }


def write_proof(folder: Path, decision: str, out: Path) -> tuple[int, list[int], int | None]:
    """Write the proof of a decision; return its leaf, and other leaves that were said under the same epoch.

    The third value is how many leaves are cosigned where this one is not among them, and None otherwise.

    Raises:
        Trouble: there is no such decision, or the ledger cannot be read.
    """
    files = Files(folder)
    try:
        found = find_leaves(files, decision)
        if not found:
            raise Trouble(
                f"the ledger in {folder} holds no decision {decision}",
                "nothing was written",
                "name it as `failshut log` prints it: GATE@EPOCH, or by its leaf's index",
                Exit.REFUSED,
            )
        data = prove_leaf(files, found[0]).data
        cosigned = read_cosigned(files)
    except Malformed as error:
        raise Trouble(str(error), "nothing was written") from error
    except LedgerError as error:
        raise ledger_trouble(error, "`failshut ledger verify` says where") from error
    try:
        write_whole(out, data)
    except OSError as error:
        raise Trouble(f"{out} cannot be written: {error.strerror}", "no proof was written", "name another file: -o") from error
    return found[0], found[1:], cosigned[0].size if cosigned is not None and cosigned[0].size <= found[0] else None


def judge(proof: Path, policy: Path) -> Verdict:
    """Check a proof's file against a trust policy's. Raises Trouble where one cannot be read, or the policy is none."""
    trust = load_policy(policy)
    return examine(_read(proof, PROOF_BYTES_MAX), trust)


def _read(path: Path, bytes_max: int) -> bytes:
    """Return what a file holds, one byte more than it may have at most: whoever parses it refuses that."""
    try:
        with path.open("rb") as file:
            return file.read(bytes_max + 1)
    except OSError as error:
        raise Trouble(f"{path} cannot be read: {error.strerror}", "nothing was verified") from error
