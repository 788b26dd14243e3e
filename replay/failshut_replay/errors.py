"""What can be wrong with what somebody hands in: each is said in a sentence that names what and where."""

from __future__ import annotations

MESSAGE_CHARS_MAX = 1_000


class ReplayError(ValueError):
    """Something that was asked for cannot be done. The message is for a person."""


class RecordingError(ReplayError):
    """A recording that cannot be relied on, or that could not be written."""


class ImportFault(ReplayError):
    """A file of somebody else's that cannot be taken as evidence: which line, and why.

    What the file holds may stand in the message, which ends on a terminal: one line of printable characters, and no book.
    """

    def __init__(self, message: str) -> None:
        text = message.strip()[:MESSAGE_CHARS_MAX]
        super().__init__("".join(char if char.isprintable() else "?" for char in text))


class LabelFault(ReplayError):
    """Labels that do not fit the recording that they stand beside."""
