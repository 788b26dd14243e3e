"""What can be wrong with what somebody hands in: each is said in a sentence that names what and where."""

from __future__ import annotations


class ReplayError(ValueError):
    """Something that was asked for cannot be done. The message is for a person."""


class RecordingError(ReplayError):
    """A recording that cannot be relied on, or that could not be written."""


class ImportFault(ReplayError):
    """A file of somebody else's that cannot be taken as evidence: which line, and why."""


class LabelFault(ReplayError):
    """Labels that do not fit the recording that they stand beside."""
