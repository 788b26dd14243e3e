"""Whose commands count in a control topic, and how often: the installation, ids that were taken, keys that must stand.

The root of trust is the evidence topic: its id is Kafka's own and no other topic has it. The first term that names it
says which installation this is. Nothing of another installation counts, whoever signed it. Operators may have one key
for several installations, and anybody can copy a signed command from one control topic into another.

Control is compacted, and who can write to it can use a command's key again. For routers that run nothing follows from that; one
that starts later would find other policies, or no term. So a router watches the keys of the term and of the bundle in force. If
it sees one used for something else, it writes the term or bundle again.

Bounds: ids of bundles and terms are kept for the last `IDS_MAX`, and a bundle's version and a term's number say
the same beyond that.
"""

from __future__ import annotations

from collections.abc import Iterable

from failshut.signing import KeySet, TokenError, claims_unverified
from failshut_breakers.command import Activate, Command, CommandError, NamelessCommand, OpenTerm, TimedCommand, parse_command
from failshut_breakers.taken_ids import Taken
from failshut_streams.control.client import COMMAND_BYTES_MAX, command_key, read_command
from failshut_streams.transport import Record

IDS_MAX = 10_000
TERM_BYTES_MAX = 1024 * 1024
"""A longer token is no term: 4,096 partitions of each topic take less."""


def installation_of(records: Iterable[Record], operators: KeySet | None, evidence_id: str) -> str:
    """Return the installation of the first believable term that names this evidence topic; empty where there is none."""
    for record in records:
        if not _may_be_a_term(record.value):
            continue
        try:
            command = read_command(record.value, operators)
        except CommandError:
            continue
        if isinstance(command, OpenTerm) and command.evidence_id == evidence_id:
            return command.installation
    return ""


def _may_be_a_term(token: bytes | None) -> bool:
    if not token or len(token) > TERM_BYTES_MAX:
        return False
    try:
        return claims_unverified(token).get("kind") == "term"
    except TokenError:
        return False


def unverified(token: bytes) -> Command | None:
    """Return the command in a token that cannot be verified, or None where it holds none: for naming gates."""
    if len(token) > COMMAND_BYTES_MAX:
        return None
    try:
        return parse_command(claims_unverified(token))
    except (TokenError, CommandError, ValueError, RecursionError):
        return None


class Belonging:
    """What one reading of control has found of this so far. `installation` is empty until a term that counts was seen."""

    def __init__(self, evidence_id: str) -> None:
        self.installation = ""
        self.elsewhere: OpenTerm | None = None
        """The newest believable term that counts for nothing here, for words: of another evidence topic or installation."""
        self.nameless = False
        """There is a believable command of a version that named no installation."""
        self._evidence_id = evidence_id
        self._taken = Taken()
        self._ids: dict[str, int] = {}  # id to control offset, of what names no time
        self._standing: dict[str, tuple[bytes, bytes]] = {}  # by kind: key and token
        self._overwritten: set[bytes] = set()

    def refuses(self, command: Command, record: Record) -> str:
        """Take a verified command as one of this installation; return why it is refused, or "" where it is not."""
        if isinstance(command, OpenTerm) and not self.installation and command.evidence_id == self._evidence_id:
            self.installation = command.installation
        if command.installation != self.installation:
            if isinstance(command, OpenTerm) and (self.elsewhere is None or command.term >= self.elsewhere.term):
                self.elsewhere = command
            here = f"this one is {self.installation}" if self.installation else "no term of this evidence topic is open"
            return f"it is of installation {command.installation}; {here}"
        if isinstance(command, TimedCommand):
            return self._taken.take(command.id, command.signed_ms, record.timestamp_ms)
        if command.id in self._ids:
            return f"its id {command.id} was taken at control offset {self._ids[command.id]}: a command counts once"
        if len(self._ids) >= IDS_MAX:
            del self._ids[next(iter(self._ids))]
        self._ids[command.id] = record.offset
        return ""

    def names_another(self, command: Command) -> bool:
        """Return whether a command, verified or not, says itself that it is not of this installation."""
        return command.installation != self.installation

    def note(self, error: CommandError) -> None:
        """Take note of why a record is no command."""
        self.nameless = self.nameless or isinstance(error, NamelessCommand)

    # --- what must stand ---

    def stands(self, command: Activate | OpenTerm, record: Record) -> None:
        """Note that this bundle or term is in force now; the one before it need not stand any more."""
        key = command_key(command)
        if record.key == key and record.value:
            before = self._standing.get(command.kind)
            if before is not None:
                self._overwritten.discard(before[0])
            self._standing[command.kind] = (key, record.value)

    def watch(self, record: Record) -> bool:
        """Take note of a record's key; return whether it only says again what stands."""
        for key, token in self._standing.values():
            if record.key == key:
                if record.value == token:
                    self._overwritten.discard(key)
                    return True
                self._overwritten.add(key)
        return False

    def restored(self) -> list[tuple[bytes, bytes]]:
        """Return what must be written again, key and token; each once until it is overwritten again."""
        overwritten, self._overwritten = self._overwritten, set()
        return [(key, token) for key, token in self._standing.values() if key in overwritten]
