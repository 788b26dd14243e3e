"""Snapshots of a governor: rebuilt state is never trusted, so it is authenticated, and what does not verify is
as good as absent.

A snapshot is the governor's state, compressed, under an HMAC whose key is derived from the signing key. Whoever
can forge one can sign permits anyway. It names its evidence topic and partition, so that it cannot stand in for
another. It is read only after its HMAC has been checked, because its content (pickle) is code to whoever reads
it.

Absent, forged and of another version are three results: None, BadSnapshot, BadSnapshot with its reason. All
lead to the same: the partition is replayed from the term's start.
"""

from __future__ import annotations

import hashlib
import hmac
import pickle
import platform
import zlib
from functools import cache
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

import msgspec
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.kdf.hkdf import HKDF

import failshut_breakers
import failshut_detectors
from failshut.signing import SigningKey
from failshut_breakers.evidence.log import EvidenceLog
from failshut_breakers.evidence.records import SCHEMA
from failshut_breakers.governor import Governor, Owns
from failshut_detectors.registry import plugin_versions

VERSION = 1
LIBRARIES = ("river", "numpy", "scipy", "cel-expr-python")
"""What conditions compute with: with another version of one, what a snapshot holds was judged by other code."""
BYTES_MAX = 64 * 1024 * 1024
"""A snapshot that unpacks to more is refused."""


class BadSnapshot(Exception):
    """Bytes that are not a snapshot of this partition, made by this code with this key."""


class _Envelope(msgspec.Struct, array_like=True):
    version: int
    code: str
    evidence_id: str
    partition: int
    offset: int
    state: bytes


def snapshot_key(key: SigningKey) -> bytes:
    """Return the key under which snapshots are authenticated."""
    return HKDF(hashes.SHA256(), 32, salt=None, info=b"failshut snapshot").derive(key.to_pem())


def take_snapshot(governor: Governor, key: bytes) -> bytes:
    """Return an authenticated snapshot of a governor."""
    state = zlib.compress(pickle.dumps(governor, protocol=5), level=1)
    body = msgspec.msgpack.encode(_Envelope(VERSION, _code(), governor.log.id, governor.partition, governor.offset, state))
    return hmac.digest(key, body, "sha256") + body


def restore_snapshot(data: bytes, key: bytes, log: EvidenceLog, partition: int, owns: Owns) -> Governor:
    """Return the governor of a snapshot.

    Raises:
        BadSnapshot: it does not verify, or is of another topic, partition or version of this code.
    """
    tag, body = data[: hashlib.sha256().digest_size], data[hashlib.sha256().digest_size :]
    if not hmac.compare_digest(tag, hmac.digest(key, body, "sha256")):
        raise BadSnapshot("it is not authentic")
    try:
        envelope = msgspec.msgpack.decode(body, type=_Envelope)
    except msgspec.MsgspecError as error:
        raise BadSnapshot(f"not a snapshot: {error}") from error
    if (envelope.version, envelope.code) != (VERSION, _code()):
        raise BadSnapshot(f"made by {envelope.code}, snapshot version {envelope.version}; this is {_code()}, {VERSION}")
    if (envelope.evidence_id, envelope.partition) != (log.id, partition):
        raise BadSnapshot(f"of partition {envelope.partition} of evidence topic {envelope.evidence_id}")
    unpacker = zlib.decompressobj()
    try:
        state = unpacker.decompress(envelope.state, BYTES_MAX)
    except zlib.error as error:
        raise BadSnapshot(f"its state cannot be unpacked: {error}") from error
    if not unpacker.eof:
        raise BadSnapshot(f"it unpacks to more than {BYTES_MAX} bytes")
    try:
        governor = pickle.loads(state)  # noqa: S301 - authenticated above
    except Exception as error:  # whatever a state of other code raises, it is no ground to stop: the log is there
        raise BadSnapshot(f"its state cannot be read: {type(error).__name__}: {error}") from error
    if not isinstance(governor, Governor) or governor.offset != envelope.offset:
        raise BadSnapshot("its state is not a governor's")
    governor.owns = owns
    return governor


def _version(package: str) -> str:
    try:
        return version(package)
    except PackageNotFoundError:  # without it its expressions are a fault of the policy, and no worker's end
        return "absent"


@cache
def _code() -> str:
    """Return what a snapshot's state depends on: pickles of another interpreter, library, source or plug-in are not read.

    The digest is of the sources whose objects are pickled: a worker that was upgraded replays, it does not guess. Of the
    packages that bring detectors there is the version alone: whoever changes one without it guesses.
    """
    digest = hashlib.sha256()
    for package in (failshut_breakers, failshut_detectors):
        for source in sorted(Path(package.__path__[0]).rglob("*.py")):
            digest.update(source.read_bytes())
    code = f"failshut {version('failshut')} ({digest.hexdigest()[:16]}), evidence {SCHEMA}"
    plugins = "".join(f", {name} {number}" for name, number in plugin_versions().items())
    libraries = ", ".join(f"{name} {_version(name)}" for name in LIBRARIES)
    return f"{code}, {libraries}, python {platform.python_version()}{plugins}"
