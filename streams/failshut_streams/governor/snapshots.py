"""Snapshots of a governor: rebuilt state is never trusted, so it is authenticated, and what does not verify is
as good as absent.

A snapshot is the governor's state, compressed, under an HMAC whose key is derived from the signing key. Whoever
can forge one can sign permits anyway. It names its evidence topic and partition, so that it cannot stand in for
another. It is read only after its HMAC has been checked, because its content (pickle) is code to whoever reads
it.

It is written in pieces, so that a gate that nothing happened to is not written again. The head holds the governor without
its gates and the digest of each piece: one piece for the policies, others for the gates that changed since the head before.
A piece of which half is out of date is written anew. All pieces that a head names are of its offset: the gates in them
have not changed since they were written.

Beside each pickle stands what it is about in a form that later versions read (failshut_breakers/standing.py): what a gate is,
without what its conditions remember. `stand` reads that of a snapshot of another version. It is for a log whose beginning is
gone: otherwise the log says more.

Absent, forged and of another version are three results: None, BadSnapshot, BadSnapshot with its reason. All
lead to the same: the partition is replayed from the term's start.
"""

from __future__ import annotations

import ast
import hashlib
import hmac
import pickle
import platform
import secrets
import zlib
from collections.abc import Iterable, Iterator, Mapping
from functools import cache
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import NamedTuple

import msgspec
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.kdf.hkdf import HKDF

import failshut_breakers
import failshut_detectors
from failshut.signing import SigningKey
from failshut_breakers.evidence.log import EvidenceLog
from failshut_breakers.evidence.records import SCHEMA
from failshut_breakers.governor import Governor, Owns
from failshut_breakers.parts import KeptGate, Policies, frame_of, joined, kept_gate
from failshut_breakers.standing import BadStanding, activation_standing, gate_standing, governor_of, partition_standing
from failshut_detectors.registry import plugin_versions

VERSION = 3
LIBRARIES = ("river", "numpy", "scipy", "cel-expr-python")
"""What conditions compute with: with another version of one, what a snapshot holds was judged by other code."""
BYTES_MAX = 64 * 1024 * 1024
"""A part of a snapshot that unpacks to more is refused."""
SNAPSHOT_BYTES_MAX = 15 * 1024 * 1024
"""What the snapshots' topic takes, less the record around it."""
PIECE_BYTES = 1024 * 1024
"""A piece is full when its gates have so many bytes, before they are compressed."""
PIECES_MAX = 64
"""Pieces that are kept. The gates of those beyond it, with the fewest gates that are still of use, are written anew."""
POLICIES: frozenset[str] = frozenset()
"""The gates in the piece that holds the policies."""


class BadSnapshot(Exception):
    """Bytes that are not a snapshot of this partition, made by this code with this key."""


class TooLarge(Exception):
    """A part of a snapshot that cannot be kept."""


class Piece(NamedTuple):
    """A part of a snapshot: its digest, the gates that were written in it, and those of them that no later piece holds."""

    digest: bytes
    written: frozenset[str]
    gates: frozenset[str]


class _Envelope(msgspec.Struct, array_like=True):
    version: int
    code: str
    evidence_id: str
    partition: int
    offset: int
    state: bytes
    pieces: list[tuple[str, bytes]]
    standing: bytes = b""


class _PolicyPiece(msgspec.Struct, array_like=True, tag="policies"):
    pickled: bytes
    standing: bytes


class _GatePiece(msgspec.Struct, array_like=True, tag="gates"):
    gates: dict[str, tuple[bytes, bytes]]  # pickled, and standing


_Content = _PolicyPiece | _GatePiece


def snapshot_key(key: SigningKey) -> bytes:
    """Return the key under which snapshots are authenticated."""
    return HKDF(hashes.SHA256(), 32, salt=None, info=b"failshut snapshot").derive(key.to_pem())


class Snapshots:
    """The snapshots of one governor, in a table: the head under the partition's number, and pieces under names of their own.

    The head is written last, and names every piece with its digest. So what a cut that was not finished has left is not named
    by any head, and the head before it still finds all of its pieces. No piece is ever written over, not even by a worker that
    does not know yet that the partition is another's now.
    """

    def __init__(self, partition: int, key: bytes) -> None:
        self._name, self._key = str(partition), key
        self._pieces: dict[str, Piece] = {}  # that the last head names, oldest first
        self._begun = 0
        self._mine = secrets.token_hex(4)
        self._of: Governor | None = None  # whose pieces they are: another one's are nobody's
        self._shape = -1  # the governor's at the last head

    def cut(self, governor: Governor) -> Iterator[tuple[str, bytes | None]]:
        """Yield what to write into the table, in order; None deletes a name. The governor must not go on meanwhile.

        Raises:
            TooLarge: a part is larger than the table's topic takes. Nothing that was yielded before needs to be taken back.
        """
        whole = self._of is not governor or self._shape != governor.shape
        kept, moved = ({}, sorted(governor.gates)) if whole else self._kept(governor)
        fresh: dict[str, Piece] = {}
        if whole:
            policies = pickle.dumps(Policies(governor.book, governor.agreement, governor.activation), protocol=5)
            piece = _PolicyPiece(policies, activation_standing(governor.activation))
            yield self._write(fresh, msgspec.msgpack.encode(piece), POLICIES)
        for names, content in _gathered(governor, moved):
            yield self._write(fresh, content, names)
        pieces = kept | fresh
        state = zlib.compress(pickle.dumps(frame_of(governor), protocol=5), level=1)
        named = [(name, piece.digest) for name, piece in pieces.items()]
        envelope = _Envelope(VERSION, _code(), governor.log.id, governor.partition, governor.offset, state, named)
        envelope.standing = partition_standing(governor)
        yield self._name, _sealed(_bounded(msgspec.msgpack.encode(envelope)), self._key)
        gone = [name for name in self._pieces if name not in kept]
        self._pieces, self._of, self._shape = pieces, governor, governor.shape
        governor.changed.clear()
        for name in gone:
            yield name, None

    def _kept(self, governor: Governor) -> tuple[dict[str, Piece], list[str]]:
        """Return the pieces that stay, and the gates to be written anew."""
        changed = governor.changed
        alive = {name: len(piece.gates - changed) for name, piece in self._pieces.items() if piece.written}
        worth = [name for name, count in alive.items() if 2 * count > len(self._pieces[name].written)]
        worth = sorted(worth, key=lambda name: (alive[name], name))[-PIECES_MAX:]
        kept = {name: piece for name, piece in self._pieces.items() if not piece.written or name in worth}
        kept = {name: piece._replace(gates=piece.gates - changed) for name, piece in kept.items()}
        stay = frozenset().union(*(piece.gates for piece in kept.values()))
        return kept, sorted(governor.gates.keys() - stay)

    def _write(self, fresh: dict[str, Piece], content: bytes, names: frozenset[str]) -> tuple[str, bytes]:
        data = _bounded(zlib.compress(content, level=1))
        self._begun += 1
        name = f"{self._name}/{self._mine}.{self._begun}"
        fresh[name] = Piece(hashlib.sha256(data).digest(), names, names)
        return name, data

    def restore(self, table: Mapping[str, bytes], log: EvidenceLog, owns: Owns) -> Governor | None:
        """Return the governor of the last head in a table, or None if there is none.

        Raises:
            BadSnapshot: it does not verify, or is of another topic, partition or version of this code, or lacks a piece.
        """
        data = table.get(self._name)
        if data is None:
            return None
        envelope = _opened(data, self._key)
        if (envelope.version, envelope.code) != (VERSION, _code()):
            raise BadSnapshot(f"made by {envelope.code}, snapshot version {envelope.version}; this is {_code()}, {VERSION}")
        self._check(envelope, log)
        frame = _unpickled(_unpacked(envelope.state))
        if not isinstance(frame, Governor) or frame.offset != envelope.offset:
            raise BadSnapshot("its state is not a governor's")
        policies: Policies | None = None
        gates: dict[str, KeptGate] = {}
        pieces: dict[str, Piece] = {}
        for name, digest in envelope.pieces:
            content = _content(_authentic(table.get(name), digest))
            names = POLICIES
            if isinstance(content, _PolicyPiece):
                found = _unpickled(content.pickled)
                policies = found if isinstance(found, Policies) else None
            else:
                names = frozenset(content.gates)
                for earlier, piece in pieces.items():  # a later piece has the gate as it was later
                    pieces[earlier] = piece._replace(gates=piece.gates - names)
                gates |= {gate: _gate(data) for gate, (data, _) in content.gates.items()}
            pieces[name] = Piece(digest, names, names)
        if policies is None:
            raise BadSnapshot("it holds no policies")
        governor = joined(frame, policies, gates.values())
        governor.owns = owns
        self._pieces, self._of, self._shape = pieces, governor, governor.shape
        return governor

    def stand(self, table: Mapping[str, bytes], log: EvidenceLog, owns: Owns) -> Governor | None:
        """Return the governor of the last head in a table as far as any version reads it, or None if there is none.

        Its conditions have no evidence. Raises:
            BadSnapshot: it does not verify, or is of another topic or partition, lacks a piece, or is of a newer form.
        """
        data = table.get(self._name)
        if data is None:
            return None
        envelope = _opened(data, self._key)
        if envelope.version != VERSION:
            raise BadSnapshot(f"snapshot version {envelope.version}; this is {VERSION}")
        self._check(envelope, log)
        activation, gates = b"", dict[str, bytes]()
        for name, digest in envelope.pieces:
            content = _content(_authentic(table.get(name), digest))
            if isinstance(content, _PolicyPiece):
                activation = content.standing
            else:
                gates |= {gate: standing for gate, (_, standing) in content.gates.items()}
        try:
            return governor_of(envelope.partition, log, owns, envelope.standing, activation, list(gates.values()))
        except BadStanding as error:
            raise BadSnapshot(str(error)) from error

    def _check(self, envelope: _Envelope, log: EvidenceLog) -> None:
        if (envelope.evidence_id, envelope.partition) != (log.id, int(self._name)):
            raise BadSnapshot(f"of partition {envelope.partition} of evidence topic {envelope.evidence_id}")

    def unnamed(self, table: Iterable[str]) -> list[str]:
        """Return the pieces in a table that a cut has left which was not finished."""
        return [name for name in table if name.startswith(f"{self._name}/") and name not in self._pieces]


def _authentic(data: bytes | None, digest: bytes) -> bytes:
    if data is None:
        raise BadSnapshot("a piece of it is gone")
    if not hmac.compare_digest(hashlib.sha256(data).digest(), digest):
        raise BadSnapshot("a piece of it is not authentic")
    return data


def _content(data: bytes) -> _Content:
    try:
        content: _Content = msgspec.msgpack.decode(_unpacked(data), type=_Content)
    except msgspec.MsgspecError as error:
        raise BadSnapshot(f"a piece of it is none: {error}") from error
    return content


def _gate(data: bytes) -> KeptGate:
    gate = _unpickled(data)
    if not isinstance(gate, KeptGate):
        raise BadSnapshot("a piece of it holds something else than gates")
    return gate


def _gathered(governor: Governor, names: Iterable[str]) -> Iterator[tuple[frozenset[str], bytes]]:
    """Yield gates in pieces of about PIECE_BYTES, each gate by itself within, with their names."""
    gates: dict[str, tuple[bytes, bytes]] = {}
    size = 0
    for name in names:
        kept = kept_gate(governor, name)
        gates[name] = pickle.dumps(kept, protocol=5), gate_standing(kept.gate)
        size += sum(map(len, gates[name]))
        if size >= PIECE_BYTES:
            yield frozenset(gates), msgspec.msgpack.encode(_GatePiece(gates))
            gates, size = {}, 0
    if gates:
        yield frozenset(gates), msgspec.msgpack.encode(_GatePiece(gates))


def _bounded(data: bytes) -> bytes:
    if len(data) > SNAPSHOT_BYTES_MAX:
        raise TooLarge(f"a part of it has {len(data)} bytes, at most {SNAPSHOT_BYTES_MAX} can be kept")
    return data


def _sealed(body: bytes, key: bytes) -> bytes:
    return hmac.digest(key, body, "sha256") + body


def _opened(data: bytes, key: bytes) -> _Envelope:
    tag, body = data[: hashlib.sha256().digest_size], data[hashlib.sha256().digest_size :]
    if not hmac.compare_digest(tag, hmac.digest(key, body, "sha256")):
        raise BadSnapshot("it is not authentic")
    try:
        return msgspec.msgpack.decode(body, type=_Envelope)
    except msgspec.MsgspecError as error:
        raise BadSnapshot(f"not a snapshot: {error}") from error


def _unpacked(data: bytes) -> bytes:
    unpacker = zlib.decompressobj()
    try:
        content = unpacker.decompress(data, BYTES_MAX)
    except zlib.error as error:
        raise BadSnapshot(f"its state cannot be unpacked: {error}") from error
    if not unpacker.eof:
        raise BadSnapshot(f"it unpacks to more than {BYTES_MAX} bytes")
    return content


def _unpickled(content: bytes) -> object:
    """Return what was pickled. Only what the head's HMAC covers may be passed, itself or by its digest."""
    try:
        return pickle.loads(content)  # noqa: S301 - authentic, as said above
    except Exception as error:  # whatever a state of other code raises, it is no ground to stop: the log is there
        raise BadSnapshot(f"its state cannot be read: {type(error).__name__}: {error}") from error


def _version(package: str) -> str:
    try:
        return version(package)
    except PackageNotFoundError:  # without it its expressions are a fault of the policy, and no worker's end
        return "absent"


def meaning_of(source: bytes) -> bytes:
    """Return what a source does, as bytes: without comments, docstrings and layout. Of no Python it is the source itself."""
    try:
        tree = ast.parse(source)
    except (SyntaxError, ValueError, RecursionError, MemoryError):
        return source
    for node in ast.walk(tree):
        if isinstance(node, ast.Module | ast.ClassDef | ast.FunctionDef | ast.AsyncFunctionDef) and ast.get_docstring(node):
            node.body[0] = ast.Pass()
    return ast.dump(tree).encode("utf-8", "surrogatepass")


@cache
def _code() -> str:
    """Return what a snapshot's state depends on: pickles of another interpreter, library, source or plug-in are not read.

    The digest is of the sources whose objects are pickled: a worker that was upgraded replays, it does not guess. Comments and
    docstrings do not count. Of the packages that bring detectors there is the version alone: whoever changes one without it
    guesses.
    """
    digest = hashlib.sha256()
    for package in (failshut_breakers, failshut_detectors):
        for source in sorted(Path(package.__path__[0]).rglob("*.py")):
            digest.update(meaning_of(source.read_bytes()))
    code = f"failshut {version('failshut')} ({digest.hexdigest()[:16]}), evidence {SCHEMA}"
    plugins = "".join(f", {name} {number}" for name, number in plugin_versions().items())
    libraries = ", ".join(f"{name} {_version(name)}" for name in LIBRARIES)
    return f"{code}, {libraries}, python {platform.python_version()}{plugins}"
