"""What an auditor's check of one proof found, offline: check by check, with words for a person.

Nothing is believed before the check that makes it believable has passed. Each check needs those before it, so the first one
that fails ends the list with what was not checked. `passed` is true only if all of them were made and passed.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import Final

from failshut_ledger.errors import LedgerError, Malformed, NoQuorum
from failshut_ledger.leaves.envelope import open_envelope
from failshut_ledger.leaves.statement import Statement, read_statement
from failshut_ledger.merkle.hashing import leaf_hash
from failshut_ledger.merkle.proofs import verify_inclusion
from failshut_ledger.notes.checkpoint import Checkpoint, open_checkpoint
from failshut_ledger.notes.note import Note
from failshut_ledger.notes.policy import Policy
from failshut_ledger.notes.proof import Proof

FORM, CHECKPOINT, WITNESSES, INCLUSION, ENVELOPE, STATEMENT = CHECKS = (
    "form",
    "checkpoint",
    "witnesses",
    "inclusion",
    "signature",
    "statement",
)
NOT_CHECKED: Final = "not checked"


@dataclass(frozen=True, slots=True)
class Check:
    """One check: its name, whether it passed (None: it was not made), and what was found."""

    name: str
    passed: bool | None
    found: str


@dataclass
class Verdict:
    """What was found, and what the leaf says. The statement is there only if every check passed."""

    checks: list[Check] = field(default_factory=list)
    proof: Proof | None = None
    checkpoint: Checkpoint | None = None
    statement: Statement | None = None

    @property
    def passed(self) -> bool:
        """Whether every check was made and passed."""
        return len(self.checks) == len(CHECKS) and all(check.passed for check in self.checks)


def examine(data: bytes, policy: Policy) -> Verdict:
    """Check a proof against a trust policy. Whatever is wrong with it stands in the verdict: nothing is raised over it."""
    verdict = Verdict()
    try:
        _examine(data, policy, verdict)
    except LedgerError as error:
        verdict.checks.append(Check(CHECKS[len(verdict.checks)], False, str(error)))
        verdict.checks += [Check(name, None, NOT_CHECKED) for name in CHECKS[len(verdict.checks) :]]
        verdict.statement = None
    return verdict


def _examine(data: bytes, policy: Policy, verdict: Verdict) -> None:
    def passed(name: str, found: str) -> None:
        verdict.checks.append(Check(name, True, found))

    proof = Proof.parse(data)
    if proof.extra is None:
        raise Malformed("the proof does not carry its leaf, so nobody can read what it proves")
    verdict.proof = proof
    passed(FORM, f"a C2SP tlog-proof of leaf {proof.index}, with the leaf itself ({len(proof.extra)} bytes)")
    checkpoint, note = open_checkpoint(proof.checkpoint, policy.logs, policy.witnesses.values())
    verdict.checkpoint = checkpoint
    logs = [one for one in note.verified if one in policy.logs and one.name == checkpoint.origin]
    passed(CHECKPOINT, f"{checkpoint.size} leaves of {checkpoint.origin}, signed by {', '.join(one.label for one in logs)}")
    passed(WITNESSES, _witnessed(policy, note))
    verify_inclusion(leaf_hash(proof.extra), proof.index, checkpoint.size, proof.hashes, checkpoint.root)
    passed(INCLUSION, f"{len(proof.hashes)} hashes lead from the leaf to the root of that checkpoint")
    payload, signed = open_envelope(proof.extra, [one for one in policy.logs if one.name == checkpoint.origin])
    passed(ENVELOPE, f"the leaf is signed by {', '.join(one.label for one in signed)}")
    verdict.statement = read_statement(payload)
    passed(STATEMENT, f"an in-toto statement about {verdict.statement.subject}")


def _witnessed(policy: Policy, note: Note) -> str:
    """Return which witnesses have cosigned, and when. Raises NoQuorum where they are not enough."""
    names = {name: one for name, one in policy.witnesses.items() if one in note.verified}
    times = {name: _utc(note.time_of(one)) for name, one in names.items()}
    said = ", ".join(f"{name} at {when}" for name, when in sorted(times.items())) or "no witness"
    if not policy.met_by(names.values()):
        raise NoQuorum(f"the policy asks for {policy.quorum!a}, and {said} has cosigned")
    return "the policy asks for none" if policy.quorum == "none" else f"{policy.quorum} is met: {said}"


def _utc(time_s: int) -> str:
    return (datetime(1970, 1, 1, tzinfo=UTC) + timedelta(seconds=min(time_s, 253_402_300_799))).strftime("%Y-%m-%dT%H:%M:%SZ")
