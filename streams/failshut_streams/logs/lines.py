"""One log record as one line: text for a person, or JSON for a collector.

Each line has its time (UTC), its level, the logger and the words. A line of JSON has more where there is more: the trouble that
begins or ends, for how long it lasted, how many lines it stands for, and the traceback of an error. Words are cut at
`WORDS_MAX` characters: one giant error must not become a megabyte of log. An error that says by itself what is wrong and what
to do (`TOLD`) has no traceback: 40 lines of the interpreter would hide its one sentence.
"""

from __future__ import annotations

import json
import logging
import time
from typing import Final

WORDS_MAX: Final = 4_000
TOLD: Final = "told_without_traceback"
"""The attribute, of a class of errors, that says so."""
EXTRA: Final = "failshut"
"""The attribute of a record that holds further fields."""


class TextLines(logging.Formatter):
    """For a person: `2026-03-02T09:41:07.123Z WARNING failshut_streams.sources.marks: ...`."""

    def format(self, record: logging.LogRecord) -> str:
        """Return the line; a traceback follows on lines of its own."""
        line = f"{written_time(record.created)} {record.levelname} {record.name}: {words_of(record)}"
        traceback = _traceback(self, record)
        return f"{line}\n{traceback}" if traceback else line


class JsonLines(logging.Formatter):
    """For a collector: one object a line, with `time`, `level`, `logger` and `message`."""

    def format(self, record: logging.LogRecord) -> str:
        """Return the object as text without a line break."""
        said: dict[str, object] = {
            "time": written_time(record.created),
            "level": record.levelname.lower(),
            "logger": record.name,
            "message": words_of(record),
            **getattr(record, EXTRA, {}),
        }
        if traceback := _traceback(self, record):
            said["traceback"] = traceback
        return json.dumps(said, ensure_ascii=False, default=str)


def words_of(record: logging.LogRecord) -> str:
    """Return what a record says, in one line and cut. A record whose arguments do not fit says what it was given."""
    try:
        text = record.getMessage()
    except Exception:  # noqa: BLE001 - whatever a library formats wrongly: its words are lost, and nothing else
        text = f"{record.msg!r} with {record.args!r}"
    text = " ".join(text.split("\n")) if "\n" in text else text
    return text if len(text) <= WORDS_MAX else f"{text[:WORDS_MAX]} (cut: {len(text)} characters)"


def written_time(seconds: float) -> str:
    """Return a time as it is written in every line.

    >>> written_time(1772444467.1234)
    '2026-03-02T09:41:07.123Z'
    """
    return f"{time.strftime('%Y-%m-%dT%H:%M:%S', time.gmtime(seconds))}.{int(seconds * 1000) % 1000:03d}Z"


def _traceback(formatter: logging.Formatter, record: logging.LogRecord) -> str:
    if not record.exc_info or getattr(record.exc_info[1], TOLD, False):
        return ""
    return formatter.formatException(record.exc_info)
