"""How a ledger stands with its witnesses: which of them cosigned what, how old that is, and what each said last.

What is verified is told from what was only heard. A cosignature proves itself. What a witness answered stands in a file that
whoever asks it has written, for people alone.
"""

from __future__ import annotations

import time
from pathlib import Path
from typing import Any

from failshut_console.exits import Trouble
from failshut_console.ledger.key_files import ledger_trouble
from failshut_ledger.disk.check import read_note
from failshut_ledger.disk.cosigned import check_unforked, open_cosigned, read_heard
from failshut_ledger.disk.files import Files
from failshut_ledger.disk.reader import DiskTiles
from failshut_ledger.errors import FileDamaged, Forked, LedgerError, Malformed
from failshut_ledger.merkle.proofs import root_within
from failshut_ledger.notes.checkpoint import Checkpoint, open_checkpoint
from failshut_ledger.notes.policy import POLICY_BYTES_MAX, Policy, parse_policy
from failshut_ledger.witness.collecting import ages


def load_policy(path: Path) -> Policy:
    """Read a trust policy. Raises Trouble."""
    try:
        with path.open("rb") as file:
            return parse_policy(file.read(POLICY_BYTES_MAX + 1))
    except OSError as error:
        raise Trouble(f"{path} cannot be read: {error.strerror}", "nothing was verified", "name a trust policy") from error
    except Malformed as error:
        do = "write it as docs/ledger.md shows"
        raise Trouble(f"{path}: {error}", "a policy that is not understood trusts nobody", do) from error


def cosigned_by(
    files: Files, checkpoint: Checkpoint, policy: Policy, now_s: int, younger_than_s: int | None = None
) -> dict[str, Any]:
    """Return what witnesses have cosigned of a ledger, verified: size, seconds by witness, and whether the quorum is met.

    With `younger_than_s`, older cosignatures do not count for the quorum.

    Raises:
        FileDamaged: the cosigned checkpoint is not one of this tree.
        LedgerError: it cannot be read, or is not signed as it should be.
    """
    found = open_cosigned(files, policy)
    if found is None:
        return {"size": None, "seconds": {}, "quorum": policy.met_by([])}
    cosigned, note = found
    if cosigned.size > checkpoint.size or root_within(DiskTiles(files), cosigned.size, checkpoint.size) != cosigned.root:
        raise FileDamaged(f"the cosigned checkpoint of {cosigned.size} leaves is not one of this tree: it is a fork")
    seconds = ages(note, policy.witnesses, now_s)
    counted = [policy.witnesses[name] for name, age_s in seconds.items() if younger_than_s is None or age_s < younger_than_s]
    return {"size": cosigned.size, "seconds": seconds, "quorum": policy.met_by(counted)}


def status(folder: Path, policy: Policy, younger_than_s: int | None = None) -> dict[str, Any]:
    """Return how a ledger stands; older cosignatures do not count for its quorum.

    Raises:
        Trouble: the ledger, or its cosigned checkpoint, cannot be believed.
    """
    files, now_s = Files(folder), int(time.time())
    try:
        checkpoint, _ = open_checkpoint(read_note(files), policy.logs)
        try:
            check_unforked(files, DiskTiles(files), checkpoint)
            fork = ""
        except Forked as error:
            fork = str(error)
        cosigned = cosigned_by(files, checkpoint, policy, now_s, younger_than_s)
        heard = read_heard(files)
    except LedgerError as error:
        raise ledger_trouble(error, "`failshut ledger verify` says where") from error
    witnesses = {}
    for name in policy.witnesses:
        said = heard.get(name)
        said = said if isinstance(said, dict) else {}
        witnesses[name] = {
            "cosigned_seconds": cosigned["seconds"].get(name),
            "said": str(said.get("word", "not asked yet"))[:20],
            "why": str(said.get("why", ""))[:500],
            "asked_seconds": now_s - said["at_s"] if isinstance(said.get("at_s"), int) else None,
        }
    return {
        "origin": checkpoint.origin,
        "size": checkpoint.size,
        "cosigned_size": cosigned["size"],
        "quorum": policy.quorum,
        "quorum_met": cosigned["quorum"],
        "fork": fork,
        "witnesses": witnesses,
    }


def as_lines(found: dict[str, Any]) -> list[str]:
    """Return a status for a person, a line each."""
    lines = [f"{'FORK      ' if found['fork'] else ''}{found['origin']}: {found['size']} leaves, {cosigned_words(found)}"]
    if found["fork"]:
        lines.append(f"  {found['fork']}")
    for name, one in found["witnesses"].items():
        age = "has not cosigned it" if one["cosigned_seconds"] is None else f"cosigned {one['cosigned_seconds']} s ago"
        asked = "" if one["asked_seconds"] is None else f"; {one['asked_seconds']} s ago: {one['said']}"
        lines.append(f"  {name}: {age}{asked}{', ' + one['why'] if one['why'] else ''}")
    return lines


def cosigned_words(found: dict[str, Any]) -> str:
    """Return in words how far a ledger is cosigned, and whether the quorum is met."""
    if found["cosigned_size"] is None:
        return "none of them cosigned"
    met = "met" if found["quorum_met"] else "NOT met"
    return f"{found['cosigned_size']} of them cosigned, the quorum {found['quorum']} is {met}"
