"""Who has access now: the file of keys, followed as it changes, and one question about a presented key.

A thread reads the file several times a second and compares its bytes, not its times. So a revocation counts within
`LOOK_SECONDS`, whatever way the file was replaced. A file that is missing, torn, too long or unreadable holds no key: nobody
has access, and `why` says so. The same holds once no look has ended for `STALE_SECONDS`: a file system that hangs might hide a
revocation.

The look-up takes the id in the key, which is no secret, and compares the hash in constant time. An unknown id is compared with
a hash of nothing, so that it takes as long.
"""

from __future__ import annotations

import hmac
import os
import threading
import time
from collections.abc import Callable
from enum import StrEnum, unique
from typing import Final

from failshut_gateway.access import access_file
from failshut_gateway.access.grant import Grant
from failshut_gateway.access.key_text import KEY_CHARS, digest_of, id_of, is_key

#: How often the file is read. A revoked key counts no longer than this after the new file is in place.
LOOK_SECONDS: Final = 0.25
#: Without a look for so long, nobody has access.
STALE_SECONDS: Final = 10.0
_NOBODY: Final = bytes(32)


@unique
class Refusal(StrEnum):
    """Why a presented key gives no access. For the audit, and never for the caller."""

    MALFORMED = "malformed_key"
    UNKNOWN = "unknown_key"
    REVOKED = "revoked_key"
    EXPIRED = "expired_key"
    NO_KEYS = "no_keys"
    ONE_SIGN_IN = "one_sign_in"
    """It is for one sign-in, and this was none, or not the first."""


class AccessBook:
    """The keys of one file. `find` is called from any thread; `start` begins the thread that follows the file."""

    def __init__(
        self,
        path: str | os.PathLike[str],
        *,
        wall: Callable[[], float] = time.time,
        monotonic: Callable[[], float] = time.monotonic,
    ) -> None:
        self._path = os.fspath(path)
        self._wall = wall
        self._monotonic = monotonic
        self._grants: dict[str, Grant] = {}
        self._content: bytes | None = None
        self._looked_mono = float("-inf")
        self._stop = threading.Event()
        self._thread: threading.Thread | None = None
        self.why = "the file of access keys was not read yet"
        """Why nobody has access; empty if the file was read."""
        self.version = 0
        """A number that grows with each change of the file."""

    def find(self, presented: bytes, *, signing_in: bool = False) -> Grant | Refusal:
        """Return what a presented key allows, or why it allows nothing.

        `signing_in`: whether it is exchanged for a session. A key for one sign-in counts there alone.
        """
        if len(presented) != KEY_CHARS or not presented.isascii():
            return Refusal.MALFORMED
        if self._monotonic() - self._looked_mono > STALE_SECONDS:
            return Refusal.NO_KEYS
        grants = self._grants  # once: the thread replaces it
        grant = grants.get(id_of(presented))
        same = hmac.compare_digest(digest_of(presented), _NOBODY if grant is None else grant.digest)
        if grant is None or not same:
            if not is_key(presented):  # asked here alone: the hash says more than the checksum
                return Refusal.MALFORMED
            return Refusal.UNKNOWN if grants else Refusal.NO_KEYS
        if grant.revoked_ms:
            return Refusal.REVOKED
        if not grant.lives(self._wall() * 1000):
            return Refusal.EXPIRED
        return Refusal.ONE_SIGN_IN if grant.once and not signing_in else grant

    def counts(self, grant: Grant) -> bool:
        """Return whether a grant that was found before still counts as it is, for what goes on for a while."""
        return (
            self._monotonic() - self._looked_mono <= STALE_SECONDS
            and self._grants.get(grant.id) == grant
            and grant.lives(self._wall() * 1000)
        )

    def look(self) -> None:
        """Read the file once. Never raises: what cannot be read takes everybody's access away."""
        began_mono = self._monotonic()
        try:
            content = access_file.read_bytes(self._path)
            if content != self._content:
                grants = {grant.id: grant for grant in access_file.parse(content)}
                self._take(grants, content, "")
        except Exception as error:  # noqa: BLE001 - whatever it is, the file says nothing that counts
            reason = error.strerror if isinstance(error, OSError) else str(error)
            self._take({}, None, f"the file of access keys cannot be read: {reason or type(error).__name__}"[:300])
        self._looked_mono = began_mono

    def _take(self, grants: dict[str, Grant], content: bytes | None, why: str) -> None:
        if grants != self._grants or why != self.why:
            self.version += 1
        self._grants, self._content, self.why = grants, content, why

    def start(self) -> None:
        """Read the file, and follow it from now on. Raises RuntimeError where no thread can be started."""
        self.look()
        self._thread = threading.Thread(target=self._follow, name="failshut-access", daemon=True)
        self._thread.start()

    def stop(self) -> None:
        """End the thread. Soon after, nobody has access any more."""
        self._stop.set()
        if self._thread is not None:
            self._thread.join(1.0)

    def _follow(self) -> None:
        while not self._stop.wait(LOOK_SECONDS):
            self.look()
