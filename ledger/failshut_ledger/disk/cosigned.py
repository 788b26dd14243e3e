"""What witnesses add to a ledger on disk: the cosigned checkpoint, the proof of a fork, and what each witness said last.

Whoever asks the witnesses writes these files, and the writer of the ledger none of them. Each is replaced whole, by a rename.
The proof of a fork is a checkpoint with the ledger's own signature that contradicts its tree. While it is there, nothing is
written and nobody is asked. It goes away by itself once the tree holds what it shows: the ledger that was signed is back.

Limits: whoever writes the folder can remove the proof. A witness shows it again.
"""

from __future__ import annotations

import json
import logging
from collections.abc import Mapping
from typing import Any, Final

from failshut_ledger.disk.files import COSIGNED, FORK, Files
from failshut_ledger.errors import FileDamaged, FileMissing, Forked, LedgerError, Malformed
from failshut_ledger.merkle.proofs import Tiles, root_within
from failshut_ledger.notes.checkpoint import Checkpoint, open_checkpoint
from failshut_ledger.notes.note import NOTE_BYTES_MAX, Note, split_note
from failshut_ledger.notes.policy import Policy

logger = logging.getLogger(__name__)

HEARD: Final = "witnesses.json"
HEARD_BYTES_MAX: Final = 256 * 1024


def check_unforked(files: Files, tiles: Tiles, checkpoint: Checkpoint) -> bool:
    """Refuse a ledger whose key has signed another tree; return whether there is a proof of that which proves nothing now.

    Raises:
        Forked: it has.
        Damaged, DiskFailed: the tree, or the proof, cannot be read.
    """
    try:
        shown = files.read(FORK, NOTE_BYTES_MAX)
    except FileMissing:
        return False
    try:
        other = Checkpoint.parse(split_note(shown)[0])
    except LedgerError as error:
        raise Forked(f"{FORK} is there and cannot be read: {error}") from error
    if other.size > checkpoint.size or root_within(tiles, other.size, checkpoint.size) != other.root:
        raise Forked(
            f"{FORK}: the key of this ledger has signed another tree, of {other.size} leaves. Restore the ledger that holds "
            "it: what is written behind this one is a fork"
        )
    return True


def settle_fork(files: Files, tiles: Tiles, checkpoint: Checkpoint) -> None:
    """Refuse a ledger whose key has signed another tree. A proof that its tree holds by now is removed.

    Raises:
        Forked: it has.
        Damaged, DiskFailed: the tree, or the proof, cannot be read, or not be removed.
    """
    if check_unforked(files, tiles, checkpoint):
        files.remove(FORK)
        files.settle()
        logger.info("%s is gone: the tree holds what it shows", FORK)


def publish_fork(files: Files, shown: bytes) -> None:
    """Keep the proof of a fork. Raises DiskFailed."""
    files.write(FORK, shown)
    files.settle()


def publish_cosigned(files: Files, note: bytes) -> None:
    """Replace the cosigned checkpoint. Raises DiskFailed."""
    files.write(COSIGNED, note)
    files.settle()


def read_cosigned(files: Files) -> tuple[Checkpoint, bytes] | None:
    """Return the cosigned checkpoint, not verified, and its note; None where there is none. Raises FileDamaged, DiskFailed."""
    try:
        note = files.read(COSIGNED, NOTE_BYTES_MAX)
        return Checkpoint.parse(split_note(note)[0]), note
    except FileMissing:
        return None
    except Malformed as error:
        raise FileDamaged(f"{COSIGNED} is no checkpoint: {error}") from error


def open_cosigned(files: Files, policy: Policy) -> tuple[Checkpoint, Note] | None:
    """Return the cosigned checkpoint, signed by a log of a policy and with the cosignatures of its witnesses; None: none there.

    Raises:
        FileDamaged, BadSignature, NoKnownSignature, WrongOrigin: it is not what it should be.
        DiskFailed: it cannot be read.
    """
    found = read_cosigned(files)
    return None if found is None else open_checkpoint(found[1], policy.logs, policy.witnesses.values())


def publish_heard(files: Files, heard: Mapping[str, Any]) -> None:
    """Replace what each witness said last: for whoever asks how they are, and never to decide by. Raises DiskFailed."""
    files.write(HEARD, json.dumps(heard, sort_keys=True).encode())


def read_heard(files: Files) -> dict[str, Any]:
    """Return what each witness said last; nothing where that is not known. Raises DiskFailed."""
    try:
        found = json.loads(files.read(HEARD, HEARD_BYTES_MAX))
    except (FileMissing, ValueError, RecursionError):
        return {}
    return found if isinstance(found, dict) else {}
