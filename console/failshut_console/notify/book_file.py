"""A target's book on disk: one file for each target, written whole after what it says was delivered."""

from __future__ import annotations

import json
from collections import OrderedDict
from pathlib import Path
from typing import Any, Final

from failshut.whole_file import write_whole
from failshut_console.notify.news import Book, Known, News

VERSION: Final = 1


class BadBook(ValueError):
    """A file that is no book."""


def path_of(folder: Path, target: str) -> Path:
    """Return where the book of a target is."""
    return folder / f"{target}.json"


def load(path: Path) -> Book | None:
    """Return the book of a file, or None where there is no file.

    Raises:
        BadBook: the file holds something else.
        OSError: it cannot be read.
    """
    try:
        content = path.read_bytes()
    except FileNotFoundError:
        return None
    try:
        said = json.loads(content)
        if said["version"] != VERSION:
            raise BadBook(f"{path} is of another version")
        gates = OrderedDict((gate, _known(one)) for gate, one in said["gates"].items())
        return Book(str(said["topic_id"]), {int(one): int(at) for one, at in said["offsets"].items()}, gates)
    except (ValueError, LookupError, TypeError, AttributeError, RecursionError) as error:
        raise BadBook(f"{path} says nothing that can be read of how far its target was told") from error


def save(path: Path, book: Book) -> None:
    """Write a book, whole or not at all. Raises OSError."""
    said = {
        "version": VERSION,
        "topic_id": book.topic_id,
        "offsets": {str(partition): offset for partition, offset in sorted(book.offsets.items())},
        "gates": {gate: _said(known) for gate, known in book.gates.items()},
    }
    write_whole(path, json.dumps(said).encode())


def _said(known: Known) -> dict[str, Any]:
    return {"epoch": known.epoch, "closing": known.closing.as_json() if known.closing is not None else None}


def _known(said: dict[str, Any]) -> Known:
    if not isinstance(said["epoch"], str):
        raise TypeError("an epoch is a text")
    return Known(said["epoch"], News.of_json(said["closing"]) if said["closing"] is not None else None)
