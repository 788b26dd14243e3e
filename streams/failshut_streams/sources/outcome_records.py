"""What an entry of a gate's stream of outcomes says, and the record of `internal` that it becomes.

Whoever may write a gate's stream may write anything there. So the whole entry is checked against what the decoder accepts. A
probe's token is checked here, where the key is (probe_tokens.py), so evidence names the probe and holds no secret.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, NamedTuple

import msgspec

from failshut.store.names import check_gate
from failshut_breakers.decisions.probe_tokens import ForgedProbe, ProbeKey
from failshut_streams.codecs.wire import OutcomeWire
from failshut_streams.sources.outcome_sums import Said


class Entry(NamedTuple):
    """An entry of a gate's stream; `fields` is None where the cap removed it while it was pending."""

    gate: str
    id: bytes
    fields: Mapping[bytes, bytes] | None


class BadOutcome(ValueError):
    """An entry of a stream that is no outcome."""


def record_of(entry: Entry, installation: str, probes: ProbeKey) -> tuple[bytes, bytes]:
    """Return key (the gate) and value of the record for an entry of the gate's stream. Raises BadOutcome as `said_by` does."""
    return encoded(said_by(entry, installation, probes))


def encoded(said: Said) -> tuple[bytes, bytes]:
    """Return key (the gate) and value of the record that says this."""
    return said["gate"].encode(), msgspec.json.encode(said)


def said_by(entry: Entry, installation: str, probes: ProbeKey) -> Said:
    """Return what an entry of a gate's stream says, as a record of it would.

    Raises:
        BadOutcome: the entry is none, not one that the decoder would take, or with a token that this monitor did not make.
    """
    try:
        text = {name.decode(): value.decode() for name, value in (entry.fields or {}).items()}
        gate, token = check_gate(entry.gate), text.get("token", "")
        outcome: Said = {
            "kind": "outcome",
            "gate": gate,
            "epoch": text["epoch"],
            "token": probes.check(token, installation, gate) if token else "",
            "outcome": text["outcome"],
            "count": _count(text["count"]),
            "id": entry.id.decode(),
            "lost": _count(text.get("lost", "0")),
            "guard": text.get("guard", ""),
            "total": _count(text.get("total", "0"), 16),
        }
        if instance := text.get("instance", ""):
            outcome["instance"] = instance
        msgspec.convert(outcome, OutcomeWire)
    except KeyError as error:
        raise BadOutcome(f"no {error}") from error
    except (ForgedProbe, ValueError, msgspec.MsgspecError) as error:
        raise BadOutcome(str(error)) from error
    return outcome


def lost_record(gate: str, lost: int) -> tuple[bytes, bytes]:
    """Return key and value of the record that says that so many outcomes of a gate were never read."""
    outcome = {"kind": "outcome", "gate": gate, "epoch": "0" * 16, "token": "", "outcome": "cancelled", "count": 0}
    return gate.encode(), msgspec.json.encode(outcome | {"id": "dropped", "lost": min(lost, 2**31 - 1)})


def _count(text: str, digits: int = 10) -> int:
    if not text.isascii() or not text.isdecimal() or len(text) > digits:
        raise BadOutcome(f"not a count: {text[:20]!r}")
    return int(text)


def entries_of(gate: str, parts: list[Any]) -> list[Entry]:
    """Return the entries in an answer, whichever nesting the client gives it."""
    entries: list[Entry] = []
    for part in parts:
        for item in part or []:
            if isinstance(item, list):
                entries.extend(Entry(gate, entry[0], entry[1]) for entry in item)
            else:
                entries.append(Entry(gate, item[0], item[1]))
    return entries
