"""Where a guard's public keys come from: a document given once, or a JWKS file that is followed as it changes.

An operator rotates keys by writing a new file. The file's bytes are compared, not its times. So a file with the same size
and time, a changed link and a file written in place are all noticed. A file that cannot be read holds no key: nothing
verifies, every gate of the guard denies, and the reason says so. The document also names the installation that the keys
belong to (`failshut_installation`). A setting of the guard overrides it. Without an installation no name in the store is
known, so nothing is read and nothing verifies. Another installation counts as another key set: no former key counts.

The thread that first sees a change does three things. First it puts the remaining former keys in force. Then it calls
`withdraw`, which ends everything that depends on the removed keys. Last it puts the new keys in force. In between no
removed key verifies anything. So nothing signed with a removed key is left at the end. The file is read without the
guard's lock, because a file system that hangs must delay no caller. Limit: such a file system also hides a change.
"""

from __future__ import annotations

import os
import stat
import threading
import time
from collections.abc import Callable, Mapping
from typing import Any, Final

from failshut.network.address import redact
from failshut.permit import Closing, Permit, verify
from failshut.seal import Seal, verify_seal
from failshut.signing import KeySet, TokenError, UnusableKey, kid_of
from failshut.store.names import Names

#: How often the file is read. A removed key counts no longer than this after the new file is in place.
LOOK_SECONDS: Final = 1.0
#: A longer file is refused. A key has about 200 bytes.
FILE_BYTES_MAX: Final = 256 * 1024

#: A function that returns whether a key of this name counts.
Counts = Callable[[str], bool]


class NoKeys(TokenError):
    """There is no key set to verify with."""


class NoInstallation(TokenError):
    """Nobody has said which installation's statements count here, or it is one that has no name in any store."""


class KeySource:
    """The guard's key set. Any thread may use it. If `installation` is given, it overrides the document's."""

    def __init__(self, jwks: str | os.PathLike[str] | Mapping[str, Any], installation: str = "") -> None:
        self._installation = installation
        self._path = "" if isinstance(jwks, Mapping) else os.fspath(jwks)
        self._keys: KeySet | None = None
        self._why = "the key set was not read yet" if self._path else "no key set is configured: set FAILSHUT_JWKS"
        self._content: bytes | None = None
        self._looked = float("-inf")
        self._looking = threading.Lock()
        self.version = 0
        """A number that grows with each change of the key set."""
        if isinstance(jwks, Mapping):
            self._keys = self._trusted(KeySet.from_dict(jwks))

    def names(self) -> Names:
        """Return the names that the installation uses in the store.

        Raises:
            NoInstallation: no installation is known, or it is that of a test (failshut.testing).
            NoKeys: there is no key set to name the installation.
        """
        keys = self._keys  # once: another thread may find the file gone meanwhile
        installation = self._installation or (keys.installation if keys is not None else "")
        if installation:
            try:
                return Names(installation)
            except ValueError as error:
                raise NoInstallation(str(error)) from error
        if keys is None:
            raise NoKeys(self._why)
        raise NoInstallation(
            "no installation is known: give a JWKS file that names it (failshut term open writes it), or set "
            "FAILSHUT_INSTALLATION"
        )

    def _trusted(self, keys: KeySet) -> KeySet:
        return keys.of(self._installation) if self._installation else keys

    @property
    def follows(self) -> bool:
        """Whether the keys come from a file, which may change."""
        return bool(self._path)

    def verified(self, token: bytes, gate: str) -> Permit | Closing:
        """Return the statement in `token` after verifying it for this gate. Reads no file. Raises TokenError."""
        keys = self._keys  # once: another thread may find the file gone meanwhile
        if keys is None:
            raise NoKeys(self._why)
        return verify(token, keys, gate)

    def verified_seal(self, token: bytes) -> Seal:
        """Return the seal in `token` after verifying it. Reads no file. Raises TokenError."""
        keys = self._keys
        if keys is None:
            raise NoKeys(self._why)
        return verify_seal(token, keys)

    def counts(self, kid: str) -> bool:
        """Return whether the key set in force contains this key, so that what it signed counts."""
        keys = self._keys
        return keys is not None and kid in keys

    def knows(self, token: bytes) -> bool:
        """Return whether the key that `token` names is known. The signature is not checked."""
        return self.counts(kid_of(token))

    def refresh(self, withdraw: Callable[[Counts], None], at_once: bool = False) -> bool:
        """Read the file, at most once a second unless `at_once`. Return whether the key set changed.

        `withdraw` receives a function that returns whether a key still counts. It must end what depends on other keys. It is
        called before the new keys are in force.
        """
        if not self._path or not (at_once or self._due()):
            return False
        if not self._looking.acquire(blocking=self._looked == float("-inf") or at_once):
            return False  # another thread is at it
        try:
            if not (at_once or self._due()):
                return False
            return self._look(withdraw)
        finally:
            self._looked = time.monotonic()
            self._looking.release()

    def after_fork(self) -> None:
        """Reset the lock and the time of the last look in a forked child.

        A thread of the parent may have held the lock, and the child itself has not read the file.
        """
        self._looking = threading.Lock()
        self._looked = float("-inf")

    def _due(self) -> bool:
        return time.monotonic() - self._looked >= LOOK_SECONDS

    def _look(self, withdraw: Callable[[Counts], None]) -> bool:
        keys: KeySet | None = None
        content: bytes | None = None
        try:
            content = _read(self._path)
            if content == self._content and self._keys is not None:
                return False
            keys = self._trusted(KeySet.from_json(content, self._path))
        except (OSError, ValueError) as error:
            self._why = redact(f"the key set cannot be read: {error}")[:300]
            if self._keys is None:
                return False
        left = keys.shared(self._keys) if keys is not None and self._keys is not None else None
        self._keys = left
        withdraw(lambda kid: left is not None and kid in left)
        self._keys, self._content = keys, content
        self.version += 1
        return True


def _read(path: str) -> bytes:
    """Return the bytes of a file, without waiting for a writer of a pipe.

    Raises OSError if it cannot be read, and ValueError if it is no regular file or too long.
    """
    handle = os.open(path, os.O_RDONLY | getattr(os, "O_NONBLOCK", 0) | getattr(os, "O_CLOEXEC", 0))
    with os.fdopen(handle, "rb") as file:
        if not stat.S_ISREG(os.fstat(handle).st_mode):
            raise UnusableKey(f"{path} is not a file")
        content = file.read(FILE_BYTES_MAX + 1)
    if len(content) > FILE_BYTES_MAX:
        raise UnusableKey(f"{path} has more than {FILE_BYTES_MAX} bytes")
    return content
