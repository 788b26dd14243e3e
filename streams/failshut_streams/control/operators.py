"""Whose commands count: operators' keys as control itself names them.

Two workers with different operators files would read one command differently: one believes it, the other passes over it
and vouches for having done so. So the file decides nothing by itself. A worker whose file changes writes the keys to
control, signed with the monitor's key. From that record on, for every worker, these are the keys whose commands count.
What came before the first such record is judged by the keys that it names.

The file that was changed last wins. A record counts only if its file's time of change is later than that of the record
in force. So a worker with an old copy brings no withdrawn key back. A worker whose file says something else than
control does says so, and goes on with control.

Limits: who holds the monitor's signing key names operators, as everything else is that holder's to say. The times of
change are of the hosts' clocks, and never later than the record's append time.

The file may also name a policy authority: whose signatures a bundle needs (failshut_breakers.policy.authority). It
travels in the same record, under the same rules.
"""

from __future__ import annotations

import hashlib
import json
import logging
import os
import uuid
from collections.abc import Iterable
from pathlib import Path
from typing import Any, Final, NamedTuple

from failshut.network.address import redact
from failshut.signing import KeySet, SigningKey, TokenError, read_token
from failshut_breakers.evidence.records import OperatorsNamed
from failshut_breakers.policy.authority import Authority, authority_of
from failshut_streams.transport import Record

logger = logging.getLogger(__name__)

TYP_OPERATORS: Final = "failshut-operators+jwt"
KEY_PREFIX: Final = b"operators/"
"""Every such record has a key of its own below this, so that compaction removes none."""

KEYS_MAX: Final = 1_000
BYTES_MAX: Final = 512 * 1024
"""The longest operators file that is read, and the longest record that is believed."""


class OperatorsUnreadable(ValueError):
    """An operators file, or a record that names operators, that cannot be used."""

    told_without_traceback = True


class Powers(NamedTuple):
    """Who may do what, as an operators file says: operators' keys, and the policy authority where one is named."""

    operators: KeySet
    authority: Authority | None = None

    @property
    def digest(self) -> bytes:
        """16 bytes that stand for exactly these keys, each in its part."""
        said = list(kids_of(self.operators))
        if self.authority is not None:
            said += [f"policy {self.authority.needed}", *self.authority.kids]
        return hashlib.blake2b("\n".join(said).encode(), digest_size=16).digest()


class Named(NamedTuple):
    """Who may do what, as a record of control names it."""

    powers: Powers
    changed_ms: int
    worker: str


def kids_of(keys: KeySet) -> tuple[str, ...]:
    """Return the ids of the keys, sorted."""
    return tuple(sorted(entry["kid"] for entry in keys.to_dict()["keys"]))


def is_named(record: Record) -> bool:
    """Return whether a record of control has the key of one that names operators."""
    return record.key is not None and record.key.startswith(KEY_PREFIX)


def encode_named(
    signing_key: SigningKey, powers: Powers, changed_ms: int, worker: str, evidence_id: str
) -> tuple[bytes, bytes]:
    """Return key and value of a record that names operators, for one evidence topic and no other."""
    keys = powers.operators.to_dict()["keys"]
    claims = {"evidence_id": evidence_id, "keys": keys, "changed_ms": changed_ms, "worker": worker}
    if powers.authority is not None:
        claims |= powers.authority.members()
    return KEY_PREFIX + uuid.uuid4().hex.encode(), signing_key.sign(claims, TYP_OPERATORS).encode()


def read_named(record: Record, monitor: KeySet, evidence_id: str) -> Named:
    """Read a record that names operators.

    Raises:
        OperatorsUnreadable: it is not signed by a monitor's key, is of another evidence topic, or is not what it should be.
    """
    try:
        _, claims = read_token(record.value or b"", monitor, TYP_OPERATORS, bytes_max=BYTES_MAX)
        powers = _powers(claims, monitor)
        changed_ms, worker = claims.get("changed_ms"), claims.get("worker")
    except (TokenError, ValueError) as error:
        raise OperatorsUnreadable(f"operators' keys: {type(error).__name__}: {error}") from error
    if claims.get("evidence_id") != evidence_id:
        raise OperatorsUnreadable("operators' keys: they are named for another evidence topic")
    if type(changed_ms) is not int or changed_ms < 0 or not isinstance(worker, str):
        raise OperatorsUnreadable("operators' keys: without the time of change, or the worker that names them")
    return Named(powers, min(changed_ms, record.timestamp_ms), worker[:200])


class OperatorsInForce:
    """Whose commands count at each place of control: a function of its records and of the monitor's public keys."""

    def __init__(self, keys: KeySet | None, monitor: KeySet | None, evidence_id: str) -> None:
        self._evidence_id = evidence_id
        self.named: Named | None = None
        self._first = None if keys is None else Powers(keys)
        self.monitor = monitor
        """The public keys that may name operators; None where they are not known, and nobody can."""

    @property
    def keys(self) -> KeySet | None:
        """The keys whose commands count now; None where nobody's do."""
        return self._powers.operators if self._powers else None

    @property
    def authority(self) -> Authority | None:
        """Whose signatures a bundle needs now; None where an operator's command is enough."""
        return self._powers.authority if self._powers else None

    @property
    def digest(self) -> bytes:
        """16 bytes that stand for these keys; empty where nobody's count."""
        return self._powers.digest if self._powers else b""

    @property
    def _powers(self) -> Powers | None:
        return self.named.powers if self.named else self._first

    def begin(self, records: Iterable[Record]) -> None:
        """Let the first record that names operators speak for all before it, too."""
        for record in records:
            named = self._read(record) if is_named(record) else None
            if named is not None:
                self._first = named.powers
                return

    def take(self, record: Record) -> OperatorsNamed | str:
        """Take a record that names operators; return what to tell governors, or why it does not count."""
        try:
            named = read_named(record, self._known_monitor(), self._evidence_id)
        except OperatorsUnreadable as error:
            return str(error)
        if self.named is not None and named.changed_ms <= self.named.changed_ms:
            return f"operators' keys of worker {named.worker}: its file is older than the one in force"
        self.named = named
        kids = list(kids_of(named.powers.operators))
        return OperatorsNamed(record.offset, record.timestamp_ms, named.powers.digest, kids, named.changed_ms, named.worker)

    def again(self) -> OperatorsInForce:
        """Return one that knows nothing of control yet."""
        again = OperatorsInForce(None, self.monitor, self._evidence_id)
        again._first = None if self.monitor else self._first
        return again

    def _read(self, record: Record) -> Named | None:
        try:
            return read_named(record, self._known_monitor(), self._evidence_id)
        except OperatorsUnreadable:
            return None

    def _known_monitor(self) -> KeySet:
        if self.monitor is None:
            raise OperatorsUnreadable("operators' keys: the monitor's public keys are not known here")
        return self.monitor


class OperatorsFile:
    """A worker's operators file, read again when it changes."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._stamp: tuple[int, ...] | None = None
        self.powers: Powers | None = None
        self.changed_ms = 0
        self.fault = ""
        """Why it cannot be read now; the keys on record go on counting."""

    def look(self) -> bool:
        """Read the file if it changed; return whether it names other keys now than when it was last read."""
        try:
            status = os.stat(self._path)
            stamp = (status.st_mtime_ns, status.st_size, status.st_ino)
            if stamp == self._stamp and not self.fault:
                return False
            powers = _powers(_document(self._path))
        except (OSError, ValueError) as error:
            self.fault = redact(f"the operators file cannot be read: {type(error).__name__}: {error}")[:300]
            return False
        self._stamp, self.fault = stamp, ""
        other = self.powers is None or powers.digest != self.powers.digest
        self.powers, self.changed_ms = powers, status.st_mtime_ns // 1_000_000
        return other


def _document(path: Path) -> Any:
    with path.open("rb") as file:
        data = file.read(BYTES_MAX + 1)
    if len(data) > BYTES_MAX:
        raise OperatorsUnreadable(f"it has more than {BYTES_MAX} bytes")
    try:
        return json.loads(data)
    except (ValueError, RecursionError) as error:
        raise OperatorsUnreadable("it is not JSON") from error


def _powers(document: Any, monitor: KeySet | None = None) -> Powers:
    """Read who may do what. `monitor` are the monitor's keys, where they are known: none of them may be a policy key."""
    entries = document.get("keys") if isinstance(document, dict) else None
    if isinstance(entries, list) and len(entries) > KEYS_MAX:
        raise OperatorsUnreadable(f"{len(entries)} keys; at most {KEYS_MAX}")
    operators = KeySet.from_dict(document)
    authority = authority_of(document)
    for kid in authority.kids if authority else ():
        if kid in operators or (monitor is not None and kid in monitor):
            raise OperatorsUnreadable(f"policy key {kid[:12]} is also an operator's or the monitor's: it must be neither")
    return Powers(operators, authority)
