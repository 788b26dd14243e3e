"""What was read of policy files is kept by digest: nobody reads the same text twice.

The router and the governor of every evidence partition read a bundle of hundreds of files. They read it from the log again at
each restart, although only one file in it has changed. Reading is a function of the text, so one reading serves all in a
process. A worker reads a bundle in a thread before it applies it, so time marks are written meanwhile. Two threads may read one
text at the same time, with the same result.

Limits: what is kept is bounded in number, and each text is bounded. Beyond it the oldest go and are read again.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Generic, TypeVar

from failshut_breakers.policy.yaml_reader import PolicyError

T = TypeVar("T")
FILES_KEPT = 4_096
"""Four of the largest bundles."""


class Readings(Generic[T]):
    """Readings of texts, by digest. `read` makes one; what it refuses is kept too."""

    def __init__(self, read: Callable[[str], T], digest_of: Callable[[str], str], kept_max: int = FILES_KEPT) -> None:
        self._read, self._digest_of, self._kept_max = read, digest_of, kept_max
        self._kept: dict[str, T | PolicyError] = {}  # each use of it is one step, whatever other threads do

    def of(self, text: str) -> T:
        """Return the reading of a text.

        Raises:
            PolicyError: it cannot be read.
        """
        digest = self._digest_of(text)
        made = self._kept.get(digest)
        if made is None:
            made = self._kept[digest] = self._make(text)
            for old in list(self._kept)[: -self._kept_max]:
                self._kept.pop(old, None)
        if isinstance(made, PolicyError):
            raise made.anew()
        return made

    def prepare(self, texts: Iterable[str]) -> None:
        """Make the readings of texts that will be asked for."""
        for text in texts:
            try:
                self.of(text)
            except PolicyError:
                continue  # whoever asks for it is told

    def __len__(self) -> int:
        return len(self._kept)

    def _make(self, text: str) -> T | PolicyError:
        try:
            return self._read(text)
        except PolicyError as error:
            return error.anew()
