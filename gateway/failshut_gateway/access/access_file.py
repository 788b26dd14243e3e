"""The file of access keys: read whole or not at all, and changed by one writer at a time.

It is JSON: `{"failshut_access": 1, "keys": [...]}`, with an entry as in grant.py for each key. One entry that cannot be read
makes the file unreadable, and then nobody has access: half a file might lack the revocation that somebody wrote. Entries that
ended long ago are left out when the file is written next.

Limit: the lock is a file beside it and holds among processes of one host. Write the file on one host, and copy it to others.
"""

from __future__ import annotations

import contextlib
import fcntl
import json
import os
import stat
from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Final

from failshut.whole_file import write_whole
from failshut_gateway.access.grant import BadGrant, Grant
from failshut_gateway.access.key_text import digest_of, id_of, new_key
from failshut_gateway.wire.strict_json import strict

VERSION: Final = 1
#: A longer file is refused. A key has about 400 bytes.
FILE_BYTES_MAX: Final = 8 * 1024 * 1024
KEYS_MAX: Final = 5_000
#: An entry stays so long after its key was revoked or expired, so that `list` shows it. Keys for one sign-in do not.
KEPT_MS: Final = 90 * 24 * 3_600_000


class BadFile(ValueError):
    """No file of access keys."""


def parse(content: bytes) -> tuple[Grant, ...]:
    """Return all entries. Raises BadFile unless every one of them can be read."""
    try:
        document = strict(content)
    except (ValueError, RecursionError) as error:
        raise BadFile("not JSON") from error
    if not isinstance(document, dict) or set(document) != {"failshut_access", "keys"}:
        raise BadFile("not a file of access keys")
    if type(document["failshut_access"]) is not int or document["failshut_access"] != VERSION:
        raise BadFile(f"another version of the file than {VERSION}")
    entries = document["keys"]
    if not isinstance(entries, list) or len(entries) > KEYS_MAX:
        raise BadFile(f"keys is not a list of at most {KEYS_MAX}")
    grants = []
    for number, entry in enumerate(entries, 1):
        try:
            grants.append(Grant.from_dict(entry))
        except (BadGrant, TypeError) as error:
            raise BadFile(f"key {number}: {error}") from error
    if len({grant.id for grant in grants}) != len(grants):
        raise BadFile("two keys have one id")
    return tuple(grants)


def dump(grants: Sequence[Grant]) -> bytes:
    """Return the file's content."""
    return json.dumps({"failshut_access": VERSION, "keys": [grant.to_dict() for grant in grants]}, indent=1).encode() + b"\n"


def read_bytes(path: str | os.PathLike[str]) -> bytes:
    """Return the bytes of the file, without waiting for a writer of a pipe.

    Raises OSError if it cannot be read, and BadFile if it is no regular file or too long.
    """
    handle = os.open(path, os.O_RDONLY | getattr(os, "O_NONBLOCK", 0) | getattr(os, "O_CLOEXEC", 0))
    with os.fdopen(handle, "rb") as file:
        if not stat.S_ISREG(os.fstat(handle).st_mode):
            raise BadFile("not a file")
        content = file.read(FILE_BYTES_MAX + 1)
    if len(content) > FILE_BYTES_MAX:
        raise BadFile(f"more than {FILE_BYTES_MAX} bytes")
    return content


def read(path: str | os.PathLike[str]) -> tuple[Grant, ...]:
    """Return all entries of the file. Raises OSError, or BadFile."""
    return parse(read_bytes(path))


# --- changes ---


# Long: one argument for each thing that a key allows.
def create(
    path: Path,
    now_ms: int,
    *,
    role: str,
    subjects: Sequence[str],
    gates: Sequence[str],
    expires_ms: int,
    note: str = "",
    once: bool = False,
) -> tuple[Grant, str]:
    """Make a key, write its entry, and return both. The key itself is in no file: show it, once.

    Raises OSError, BadFile, or BadGrant for what cannot be granted.
    """
    made: list[tuple[Grant, str]] = []

    def add(grants: list[Grant]) -> list[Grant]:
        taken = {grant.id for grant in grants}
        key = next(key for key in iter(new_key, "") if id_of(key.encode()) not in taken)
        grant = Grant(
            id=id_of(key.encode()),
            digest=digest_of(key.encode()),
            role=role,
            subjects=tuple(subjects),
            gates=tuple(gates),
            created_ms=now_ms,
            expires_ms=expires_ms,
            note=note,
            once=once,
        )
        made.append((grant, key))
        return [*grants, grant]

    _change(path, now_ms, add)
    return made[0]


def revoke(path: Path, now_ms: int, key_id: str) -> Grant:
    """Revoke a key by its id, and return its entry. Revoked already, it stays as it is.

    Raises OSError, BadFile, or LookupError where there is no such key.
    """
    done: list[Grant] = []

    def mark(grants: list[Grant]) -> list[Grant]:
        for at, grant in enumerate(grants):
            if grant.id == key_id:
                done.append(grant if grant.revoked_ms else replace(grant, revoked_ms=now_ms))
                return [*grants[:at], done[0], *grants[at + 1 :]]
        raise LookupError(key_id)

    _change(path, now_ms, mark)
    return done[0]


def _change(path: Path, now_ms: int, change: Callable[[list[Grant]], list[Grant]]) -> None:
    """Read the file, change what it says, and write it whole, while nobody else does. A missing file has no keys."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with _locked(path):
        try:
            grants = list(read(path))
        except FileNotFoundError:
            grants = []
        kept = [grant for grant in grants if _ended_ms(grant) > now_ms - (0 if grant.once else KEPT_MS)]
        changed = change(kept)
        if len(changed) > KEYS_MAX:
            raise BadGrant(f"the file holds {KEYS_MAX} keys, and no more: revoke some")
        content = dump(changed)
        if len(content) > FILE_BYTES_MAX:
            raise BadGrant(f"the file would have more than {FILE_BYTES_MAX} bytes")
        write_whole(path, content, 0o600)


def _ended_ms(grant: Grant) -> int:
    return min(grant.revoked_ms or grant.expires_ms, grant.expires_ms)


@contextlib.contextmanager
def _locked(path: Path) -> Iterator[None]:
    """Wait until nobody else changes the file. The kernel lets go of the lock when its process ends, however it ends."""
    handle = os.open(path.with_name(f".{path.name}.lock"), os.O_RDWR | os.O_CREAT | getattr(os, "O_CLOEXEC", 0), 0o600)
    try:
        fcntl.flock(handle, fcntl.LOCK_EX)
        yield
    finally:
        os.close(handle)
