"""Where a guard's public keys come from: a document given once, or a JWKS file that is followed as it changes.

Rotation is a new file. The file's bytes are compared, not its times. So a file with the same size and time, a changed
link and a file written in place are all noticed. What cannot be read holds no key: nothing verifies, every gate of the
guard denies, and the reason says so. The document also says whose keys these are (`failshut_installation`), unless the
guard has a setting for it. Without an installation no name in the store is known, nothing is read and nothing verifies.
Another installation is as another key set: no key of the former counts.

The thread that first sees a change does three things. First it puts the remaining former keys in force. Then it lets
`withdraw` end everything that depends on the removed ones. At last it puts the new keys in force. In between no removed
key verifies anything. So nothing signed with one is left at the end. The file is read without the guard's lock, because
a file system that hangs must hold up no caller. Limit: such a file system hides a change as well.
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

#: The file is looked at so often; a key that is taken out counts no longer than this after its file is in place.
LOOK_SECONDS: Final = 1.0
#: A longer file is not read: a key has about 200 bytes.
FILE_BYTES_MAX: Final = 256 * 1024

#: Whether a key of this name counts.
Counts = Callable[[str], bool]


class NoKeys(TokenError):
    """There is no key set to verify with."""


class NoInstallation(TokenError):
    """Nobody has said which installation's statements count here, or it is one that has no name in any store."""


class KeySource:
    """The guard's key set. Any thread may use it. `installation`, where given, wins over the document's."""

    def __init__(self, jwks: str | os.PathLike[str] | Mapping[str, Any], installation: str = "") -> None:
        self._installation = installation
        self._path = "" if isinstance(jwks, Mapping) else os.fspath(jwks)
        self._keys: KeySet | None = None
        self._why = "the key set was not read yet" if self._path else "no key set is configured: set FAILSHUT_JWKS"
        self._content: bytes | None = None
        self._looked = float("-inf")
        self._looking = threading.Lock()
        self.version = 0
        """Grows whenever the key set changed."""
        if isinstance(jwks, Mapping):
            self._keys = self._trusted(KeySet.from_dict(jwks))

    def names(self) -> Names:
        """The names of the installation in the store.

        Raises:
            NoInstallation: none is known, or it is that of a test (failshut.testing).
            NoKeys: there is no key set, which would name it.
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
        """Whether there is a file to look at."""
        return bool(self._path)

    def verified(self, token: bytes, gate: str) -> Permit | Closing:
        """The statement in `token`. Raises TokenError. Reads no file."""
        keys = self._keys  # once: another thread may find the file gone meanwhile
        if keys is None:
            raise NoKeys(self._why)
        return verify(token, keys, gate)

    def verified_seal(self, token: bytes) -> Seal:
        """The seal in `token`. Raises TokenError. Reads no file."""
        keys = self._keys
        if keys is None:
            raise NoKeys(self._why)
        return verify_seal(token, keys)

    def counts(self, kid: str) -> bool:
        """Whether what this key signed counts now."""
        keys = self._keys
        return keys is not None and kid in keys

    def knows(self, token: bytes) -> bool:
        """Whether the key that `token` names, truly or not, is a known one."""
        return self.counts(kid_of(token))

    def refresh(self, withdraw: Callable[[Counts], None], at_once: bool = False) -> bool:
        """Look at the file, at most once a second unless `at_once`. Whether the key set is another one now.

        `withdraw` is told which keys count before they are in force, and must end what rests on others.
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
        """In the child: the parent's threads may have been looking, and the child has seen nothing itself."""
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
    """The bytes of a file. Raises OSError, or ValueError for what is no file or too long; waits for no writer."""
    handle = os.open(path, os.O_RDONLY | getattr(os, "O_NONBLOCK", 0) | getattr(os, "O_CLOEXEC", 0))
    with os.fdopen(handle, "rb") as file:
        if not stat.S_ISREG(os.fstat(handle).st_mode):
            raise UnusableKey(f"{path} is not a file")
        content = file.read(FILE_BYTES_MAX + 1)
    if len(content) > FILE_BYTES_MAX:
        raise UnusableKey(f"{path} has more than {FILE_BYTES_MAX} bytes")
    return content
