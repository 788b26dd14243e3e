"""What a recording says of itself, in the footer of its Parquet file.

Tamper-evidence: every row group has a SHA-256 over all of its rows. The footer holds these digests, and the
recording's digest is that of the footer. So one changed byte is found before its row group is used. The digest
is printed when a recording is made, and is in every report. Whoever kept it notices a footer that was computed
again.

Limits: who can write the file can write another one. What was not changed is shown by a digest kept elsewhere,
never by the file alone.
"""

from __future__ import annotations

import hashlib
import platform
from importlib.metadata import PackageNotFoundError, version

import msgspec

from failshut_breakers.evidence.records import SCHEMA
from failshut_detectors.registry import plugin_versions
from failshut_replay.errors import RecordingError

VERSION = 2
"""Version of the recording format. A reader refuses a newer one. Only what begins in the middle of a log is of 2."""

KEY = b"failshut.recording"
DIGEST_KEY = b"failshut.digest"

EVIDENCE, DECISION = "evidence", "decision"


class Group(msgspec.Struct, frozen=True):
    """One row group: rows of one kind and one evidence partition, in order. `digest` is over all of them."""

    kind: str
    partition: int
    rows: int
    first: int
    last: int
    digest: str


class Activated(msgspec.Struct, frozen=True):
    """A policy activation that the evidence holds: what was in force, from when. `fault` says why it was not trusted."""

    offset: int
    time_ms: int
    version: int
    files: dict[str, str]
    signer: str
    fault: str


class Start(msgspec.Struct, frozen=True):
    """What is known at the first record of a partition whose log's beginning is gone (replay/resume.py)."""

    offset: int  # of that record
    term: int
    routing: int  # control offset of the activation then in force, which is among `policies`; -1 before the first
    positions: list[tuple[str, int, int]]  # topic, partition, position of the front door: all from there on is recorded
    standing: dict[str, bytes] = {}  # by gate: the last decision about its state from before


class Manifest(msgspec.Struct, frozen=True, kw_only=True):
    """The footer. Times in milliseconds since 1970 (UTC); `begin_ms` and `end_ms` are append times of evidence."""

    version: int
    source: str
    gates: dict[str, int]  # of which decisions are judged, with the evidence partition that each lies in
    from_ms: int  # what the recording is about; what comes before leads up to it
    to_ms: int
    begin_ms: int
    end_ms: int
    evidence_id: str
    evidence_partitions: int
    evidence_schema: int = SCHEMA
    made_by: dict[str, str]
    policies: list[Activated]
    groups: list[Group]
    decided_upto: dict[str, int]  # by partition (as text), the evidence offset of the last decision that was on record
    decisions_taken: bool  # they were taken by a monitor; otherwise this code took them when the recording was made
    differing: list[str] = []  # where two governors were on record with different decisions
    installation: str = ""  # whose log it is; empty where no term and no decision is recorded that would say
    meaning: int = 1  # of policies, by which the decisions were taken (failshut_breakers.policy.policy.MEANING)
    sealed: bool = False  # seals renewed its permits; before version 0.2 each renewal was a decision
    starts: dict[str, Start] = {}  # by partition (as text), where the log's beginning is gone

    @property
    def partitions(self) -> list[int]:
        """The evidence partitions that are recorded."""
        return sorted({group.partition for group in self.groups if group.kind == EVIDENCE})

    def decided(self, partition: int) -> int:
        """Return the evidence offset of the last decision on record over a partition; -1 where there is none."""
        return self.decided_upto.get(str(partition), -1)

    @property
    def digest(self) -> str:
        """The recording's digest, as it is written now; that of a file that was read is `Recording.digest`."""
        return digest_of(encode_manifest(self))

    def start(self, partition: int) -> Start | None:
        """Return what is known where a partition begins in the middle of its log; None where it begins with it."""
        return self.starts.get(str(partition))

    def rows(self, kind: str) -> int:
        """Return how many rows of a kind there are."""
        return sum(group.rows for group in self.groups if group.kind == kind)


_encoder = msgspec.json.Encoder(order="deterministic")
_decoder = msgspec.json.Decoder(Manifest)


def digest_of(footer: bytes) -> str:
    """Return a recording's digest: over the footer, and so over everything."""
    return "sha256:" + hashlib.sha256(footer).hexdigest()


class _Version(msgspec.Struct):
    version: int


def encode_manifest(manifest: Manifest) -> bytes:
    """Return the footer's bytes: the same for equal manifests."""
    return _encoder.encode(manifest)


def decode_manifest(data: bytes, where: str) -> Manifest:
    """Read a footer.

    Raises:
        RecordingError: it is of a newer version, or not a recording's.
    """
    try:
        found = msgspec.json.decode(data, type=_Version).version
        if found > VERSION:
            raise RecordingError(
                f"{where} is a recording of format {found}, and this version of Failshut reads up to {VERSION}: "
                "use the version that made it, or a newer one"
            )
        return _decoder.decode(data)
    except msgspec.MsgspecError as error:
        raise RecordingError(f"{where}: its footer is not a recording's: {error}") from error


def versions() -> dict[str, str]:
    """Return what decisions depend on beside evidence and policy: this code, and the libraries that it stands on."""
    found = {"python": platform.python_version()}
    for package in ("failshut", "river", "numpy", "scipy", "cel-expr-python"):
        try:
            found[package] = version(package)
        except PackageNotFoundError:
            found[package] = "not installed"
    return found | plugin_versions()
