"""Operator commands: signed, by name, with a reason.

Commands travel through the control topic like all evidence, so a replay sees them where the live governor did.
Each that may open a gate names what it answers: a reset and a bypass name the epoch of the closing that the operator
saw, so a later demand voids them. A lock and the end of a bypass can only close, and count whatever came before. A
router verifies the signature (it holds the operators' public keys); what does not verify goes to the dead-letter topic.

A signature says who, not where and not how often: operators may hold one key for several installations, and
a signed command can be copied. So each names its installation, and counts once, by its id (taken_ids.py). A
command about a gate or a gap also says when it was signed, so that nobody has to remember ids for ever.
"""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import (
    AfterValidator,
    BaseModel,
    ConfigDict,
    Field,
    SerializerFunctionWrapHandler,
    TypeAdapter,
    ValidationError,
    model_serializer,
)

from failshut.store import names as store_names
from failshut.store.names import check_installation
from failshut_breakers.evidence.log import EvidenceLog

GATE_PATTERN = store_names.GATE_PATTERN
ID_PATTERN = r"^[A-Za-z0-9._-]{1,64}$"
WHY_MAX = 500
SIGNATURES_MAX = 16
"""So many policy keys may sign one bundle (policy/authority.py)."""
SIGNATURE_CHARS_MAX = 8_192


class CommandError(Exception):
    """A command that cannot be taken: malformed, unsigned, or by nobody known."""


class NamelessCommand(CommandError):
    """A command that names no installation, as versions before 0.2 wrote them."""


def _printable(text: str) -> str:
    """Return what a person reads on a terminal may not command that terminal: no control, format or surrogate characters."""
    if not text.isprintable():
        bad = next(character for character in text if not character.isprintable())
        raise ValueError(f"it holds a character that cannot be printed: {bad!a}")
    return text


Words = Annotated[str, AfterValidator(_printable)]
"""Text that stands on the log and on screens: it is printable, and one line."""


Signature = Annotated[str, Field(max_length=SIGNATURE_CHARS_MAX)]


class _Base(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)

    installation: Annotated[str, AfterValidator(check_installation)]
    by: Annotated[Words, Field(min_length=1, max_length=200)]
    why: Annotated[Words, Field(min_length=1, max_length=WHY_MAX)]
    id: Annotated[str, Field(pattern=ID_PATTERN)]


class _Timed(_Base):
    signed_ms: Annotated[int, Field(gt=0, lt=2**53)]
    """When it was signed, by the operator's clock, in milliseconds: it counts only near that time."""


class _ForGate(_Timed):
    gate: Annotated[str, Field(pattern=GATE_PATTERN)]


class Lock(_ForGate):
    """Close the gate until an operator unlocks it."""

    kind: Annotated[Literal["lock", "hold"], AfterValidator(lambda kind: "lock")] = "lock"
    """Versions before 0.2 wrote "hold"; 0.3 reads it no more."""


class Unlock(_ForGate):
    """Ask for a locked breaker to prove itself, and for no other. `epoch` is that of the closing that it answers."""

    kind: Literal["unlock"] = "unlock"
    epoch: Annotated[int, Field(ge=0)]


class Reset(_ForGate):
    """Ask for a tripped or locked breaker to prove itself. `epoch` is that of the closing that it answers."""

    kind: Literal["reset"] = "reset"
    epoch: Annotated[int, Field(ge=0)]


class Bypass(_ForGate):
    """Keep the gate open against the demands of the named conditions until `until_ms`, an absolute end."""

    kind: Literal["bypass"] = "bypass"
    epoch: Annotated[int, Field(ge=0)]
    conditions: Annotated[tuple[Words, ...], Field(min_length=1, max_length=64)]
    until_ms: Annotated[int, Field(gt=0)]


class EndBypass(_ForGate):
    """End the bypass that is in force. It takes authority away and gives none, so like a lock it names no epoch."""

    kind: Literal["end_bypass"] = "end_bypass"


class Confirm(_ForGate):
    """Say that a trip had a cause. `epoch` is that of its closing. It touches the tally of false trips, never the gate."""

    kind: Literal["confirm"] = "confirm"
    epoch: Annotated[int, Field(ge=0)]


class Accept(_ForGate):
    """Say that the level at which a condition demands is normal from now on. `epoch` is that of the closing that it answers."""

    kind: Literal["accept"] = "accept"
    epoch: Annotated[int, Field(ge=0)]
    condition: Annotated[str, Field(min_length=1, max_length=200)]


class Activate(_Base):
    """Put a policy bundle in force: file name to YAML text. Refused unless its version is higher than the one in force."""

    kind: Literal["activate"] = "activate"
    version: Annotated[int, Field(ge=1, lt=2**53)]
    files: Annotated[dict[str, str], Field(max_length=1000)]
    signatures: Annotated[tuple[Signature, ...], Field(max_length=SIGNATURES_MAX)] = ()
    """Of policy keys, over the bundle (policy/authority.py). They count where an authority is named, and are kept elsewhere."""

    @model_serializer(mode="wrap")
    def _as_before(self, whole: SerializerFunctionWrapHandler) -> dict[str, Any]:
        """Leave signatures out where there are none: versions that know of none refuse the member."""
        said: dict[str, Any] = whole(self)
        return said if self.signatures else {name: value for name, value in said.items() if name != "signatures"}


class OpenTerm(_Base):
    """Open a term: a new evidence log, or the same one after its offsets were lost. The first makes the installation's id."""

    kind: Literal["term"] = "term"
    term: Annotated[int, Field(ge=1, lt=2**13)]
    evidence_id: Annotated[str, Field(min_length=1, max_length=64)]
    evidence_partitions: Annotated[int, Field(ge=1, le=4096)]
    starts: dict[str, dict[int, int]]
    topic_ids: dict[str, str] = {}  # of the front-door topics, by role: offsets of another topic mean nothing here

    @property
    def log(self) -> EvidenceLog:
        """The evidence log that it opens."""
        return EvidenceLog(self.evidence_id, self.evidence_partitions)


class AcceptGap(_Timed):
    """Sign that what a front-door partition held before `upto` is lost and will not be seen. It counts in the present term."""

    kind: Literal["accept_gap"] = "accept_gap"
    topic: Annotated[Words, Field(max_length=64)]
    partition: Annotated[int, Field(ge=0)]
    upto: Annotated[int, Field(ge=0)]


GateCommand = Lock | Unlock | Reset | Bypass | EndBypass | Confirm | Accept
TimedCommand = GateCommand | AcceptGap
Command = GateCommand | Activate | OpenTerm | AcceptGap

_adapter: TypeAdapter[Command] = TypeAdapter(Annotated[Command, Field(discriminator="kind")])


def parse_command(claims: str | bytes | dict[str, object]) -> Command:
    """Read the claims of a command (verified elsewhere).

    Raises:
        CommandError: the claims are not a command's.
    """
    try:
        if isinstance(claims, dict):
            return _adapter.validate_python(claims)
        return _adapter.validate_json(claims)
    except ValidationError as error:
        first = error.errors(include_url=False)[0]
        where = ".".join(str(part) for part in first["loc"])
        if first["type"] == "missing" and first["loc"][-1:] == ("installation",):
            raise NamelessCommand("it names no installation: sign it anew, with this version") from error
        raise CommandError(f"not a command: {where}: {first['msg']}") from error
