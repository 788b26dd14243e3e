"""A verdict as a page that a person understands, and as JSON. Nothing of a leaf is shown before every check passed."""

from __future__ import annotations

from typing import Any

from failshut.cause import Cause
from failshut_breakers.words import printable
from failshut_console.terminal.times import utc
from failshut_ledger.verdict import Verdict

_MARKS = {True: "passed", False: "FAILED", None: "not made"}
_ASKS = {
    "form": "Is it a proof?",
    "checkpoint": "Did a log that you trust sign this tree?",
    "witnesses": "Did enough witnesses see the same tree?",
    "inclusion": "Is the leaf in that tree?",
    "signature": "Did the log's key sign the leaf?",
    "statement": "Is the leaf a statement of a ledger?",
}
_WHAT = {"unreadable": "a record that is no decision", "begin": "the beginning of a ledger", "rotate": "a change of keys"}
_DOES = {"open": "opened", "renew": "kept open", "close": "closed", "note": "left as it was"}


def as_json(verdict: Verdict) -> dict[str, Any]:
    """Return a verdict for a machine."""
    checkpoint, statement = verdict.checkpoint, verdict.statement
    return {
        "verified": verdict.passed,
        "checks": [{"check": one.name, "passed": one.passed, "found": one.found} for one in verdict.checks],
        "index": verdict.proof.index if verdict.proof and verdict.passed else None,
        "checkpoint": {"origin": checkpoint.origin, "size": checkpoint.size, "root": checkpoint.root.hex()}
        if checkpoint and verdict.passed
        else None,
        "digest": f"sha256:{statement.digest}" if statement else None,
        "predicate_type": statement.predicate_type if statement else None,
        "predicate": dict(statement.predicate) if statement else None,
    }


def as_page(verdict: Verdict, name: str) -> list[str]:
    """Return a verdict for a person, a line each."""
    lines = [f"{printable(name)}: {'VERIFIED' if verdict.passed else 'NOT VERIFIED'}", ""]
    if verdict.statement is not None and verdict.passed:
        try:
            lines += [*_told(verdict.statement.predicate, verdict.statement.digest), ""]
        except (KeyError, TypeError, AttributeError):  # its log has signed it, and is of another version, or lies
            lines += ["  this version cannot show what the leaf says: --json prints it", ""]
    lines.append("checks")
    for check in verdict.checks:
        lines += [f"  {_MARKS[check.passed]:8}  {_ASKS[check.name]}", f"            {printable(check.found)}"]
    return lines


def _told(said: Any, digest: str) -> list[str]:
    """Return what a leaf says. A key signed it; its shape is still looked at, because a line must not command a terminal."""
    kind = said["kind"]
    if "gate" not in said:
        rows = [("what", _WHAT.get(kind, str(kind))), *((name, said[name]) for name in ("key", "replaces") if name in said)]
    else:
        rows = _decision(said)
    record = said.get("record")
    if isinstance(record, dict):
        place = f"{record.get('topic')}/{record.get('partition')}/{record.get('offset')}"
        rows += [("record", f"{place}, sha256:{digest}")]
    return [f"  {label:10}  {printable(str(value))}" for label, value in rows]


def _decision(said: Any) -> list[tuple[str, Any]]:
    rows = [
        ("gate", said["gate"]),
        ("what", f"{_DOES.get(said.get('does'), said.get('does'))} ({said.get('kind')}), breaker {said.get('state')}"),
        ("when", _when(said.get("time_ms"))),
    ]
    if said.get("cause"):
        rows.append(("cause", f"{said['cause']}: {_meaning(said['cause'])}"))
    rows.append(("because", said.get("because")))
    if said.get("by"):
        rows.append(("by", said["by"]))
    evidence, origin = said.get("evidence") or {}, said.get("origin")
    rows += [
        ("epoch", said.get("epoch")),
        ("policy", said.get("policy")),
        ("evidence", f"{evidence.get('topic')}, partition {evidence.get('partition')}, offset {evidence.get('offset')}"),
    ]
    if isinstance(origin, dict):
        place = f"{origin.get('topic')}, partition {origin.get('partition')}, offset {origin.get('offset')}"
        rows.append(("origin", f"{place}, item {origin.get('index')}"))
    for one in said.get("readings") or []:
        rows.append(("condition", f"{one.get('name')} {one.get('status')}: {one.get('text')}"))
    if said.get("shortened"):
        rows.append(("shortened", "the decision did not fit in a leaf; the digest below is of the whole record"))
    return rows


def _when(time_ms: object) -> str:
    return f"{utc(time_ms, 'milliseconds')} (evidence time)" if isinstance(time_ms, int) and 0 <= time_ms < 2**47 else "unknown"


def _meaning(cause: object) -> str:
    try:
        return Cause(str(cause)).meaning
    except ValueError:
        return "a cause that this version does not know"
