"""Where a guard's public keys come from: a document given once, or a JWKS file that is followed as it changes.

Rotation is a new file: a token with an unknown `kid` makes the guard look again at once (but not more than
once a second), and a key that is taken out stops counting when the file's change is seen. A file that
cannot be read leaves no keys at all: nothing verifies, every gate of the guard denies, and the reason says
so. The document also says whose keys these are (`failshut_installation`), unless the guard was told otherwise; without
an installation no name in the store is known, nothing is read and nothing verifies.
"""

from __future__ import annotations

import os
import time
from collections.abc import Mapping
from typing import Any, Final

from failshut.keys import Names
from failshut.permit import Closing, Permit, verify
from failshut.signing import KeySet, TokenError, UnknownKey

RELOAD_SECONDS_MIN: Final = 1.0


class NoKeys(TokenError):
    """There is no key set to verify with."""


class NoInstallation(TokenError):
    """Nobody has said which installation's statements count here."""


class KeySource:
    """The guard's key set. Used by its background threads alone. `installation`, where given, wins over the document's."""

    def __init__(self, jwks: str | os.PathLike[str] | Mapping[str, Any], installation: str = "") -> None:
        self._installation = installation
        self._path = "" if isinstance(jwks, Mapping) else os.fspath(jwks)
        self._keys: KeySet | None = None
        self._why = "no key set is configured: set FAILSHUT_JWKS"
        self._stamp: tuple[int, ...] | None = None
        self._looked = float("-inf")
        self.version = 0
        """Grows whenever the key set changed, so that verified tokens are verified anew."""
        if isinstance(jwks, Mapping):
            self._keys = self._trusted(KeySet.from_dict(jwks))

    def names(self) -> Names:
        """The names of the installation in the store.

        Raises:
            NoInstallation: none is known.
            NoKeys: there is no key set, which would name it.
        """
        keys = self._keys  # once: the other thread may find the file gone meanwhile
        installation = self._installation or (keys.installation if keys is not None else "")
        if installation:
            return Names(installation)
        if keys is None:
            raise NoKeys(self._why)
        raise NoInstallation(
            "no installation is known: give a JWKS file that names it (failshut term open writes it), or set "
            "FAILSHUT_INSTALLATION"
        )

    def _trusted(self, keys: KeySet) -> KeySet:
        return keys.of(self._installation) if self._installation else keys

    def verified(self, token: bytes, gate: str) -> Permit | Closing:
        """The statement in `token`. Raises TokenError."""
        try:
            return self._verify(token, gate)
        except UnknownKey:
            if not self.refresh():
                raise
        return self._verify(token, gate)

    def refresh(self) -> bool:
        """Read the file again if it changed; at most once a second. Whether the key set is another one now."""
        now = time.monotonic()
        if not self._path or now - self._looked < RELOAD_SECONDS_MIN:
            return False
        self._looked = now
        try:
            status = os.stat(self._path)
            stamp = (status.st_mtime_ns, status.st_size, status.st_ino)
            if stamp == self._stamp:
                return False
            keys = self._trusted(KeySet.load(self._path))
        except (OSError, ValueError) as error:
            changed = self._keys is not None
            self._keys, self._stamp = None, None
            self._why = f"the key set cannot be read: {error}"
        else:
            changed = True
            self._keys, self._stamp = keys, stamp
        if changed:
            self.version += 1
        return changed

    def _verify(self, token: bytes, gate: str) -> Permit | Closing:
        if self._keys is None:
            self.refresh()
        keys = self._keys  # once: the other thread may find the file gone meanwhile
        if keys is None:
            raise NoKeys(self._why)
        return verify(token, keys, gate)
