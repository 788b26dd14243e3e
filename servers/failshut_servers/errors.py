"""The one error of the embedded servers."""

from __future__ import annotations


class EmbeddedUnavailable(RuntimeError):
    """An embedded server cannot be had; says what happened and what to do about it.

    Attributes:
        what: what happened, one sentence or a few lines of the server's own log.
        remedy: what the reader can do.
    """

    def __init__(self, what: str, remedy: str) -> None:
        super().__init__(f"{what}\nWhat to do: {remedy}")
        self.what = what
        self.remedy = remedy
