"""Files as lines and as bytes, whatever wrote them: UTF-8 with or without a byte order mark, UTF-16 of Excel, gzip.

Everything is bounded: a line, a file that is read as a whole, and what gzip unpacks to. What cannot be read is an ImportFault
with the reason: an encoding is never guessed, since a wrong guess changes names.
"""

from __future__ import annotations

import codecs
import gzip
import io
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import BinaryIO

from failshut_replay.errors import ImportFault

UNPACKED_BYTES_MAX = 16 * 1024**3
LINE_CHARS_MAX = 1024 * 1024
MAGIC = {
    b"\x28\xb5\x2f\xfd": "compressed with zstd: unpack it first",
    b"PK\x03\x04": "a zip archive or a spreadsheet: save it as CSV",
    b"PAR1": "Parquet: name it .parquet",
    codecs.BOM_UTF32_LE: "UTF-32: save it as UTF-8",
    codecs.BOM_UTF32_BE: "UTF-32: save it as UTF-8",
}
GZIP = b"\x1f\x8b"
BOMS = {codecs.BOM_UTF8: "utf-8-sig", codecs.BOM_UTF16_LE: "utf-16", codecs.BOM_UTF16_BE: "utf-16"}


@contextmanager
def readable(path: Path) -> Iterator[None]:
    """Say what is wrong with a file that cannot be read.

    Raises:
        ImportFault: in place of what Python's libraries raise.
    """
    try:
        yield
    except UnicodeError as error:
        reason = getattr(error, "reason", str(error))
        raise ImportFault(f"{path} is not UTF-8 ({reason}): save it as UTF-8") from error
    except EOFError as error:
        raise ImportFault(f"{path} ends too early: a part of it is missing") from error
    except (zlib.error, gzip.BadGzipFile) as error:
        raise ImportFault(f"{path} is damaged: {error}") from error
    except OSError as error:
        raise ImportFault(f"{path} cannot be read: {error.strerror or error}") from error


@contextmanager
def opened(path: Path) -> Iterator[tuple[BinaryIO, str]]:
    """Open a file, unpacked if it is gzip; yield it with its encoding.

    Raises:
        ImportFault: it is of a kind that is not taken.
    """
    with readable(path), path.open("rb") as raw:
        packed = raw.read(2) == GZIP
        raw.seek(0)
        source: BinaryIO = io.BufferedReader(_Bounded(gzip.GzipFile(fileobj=raw), path)) if packed else raw
        head = source.peek(4)[:4] if isinstance(source, io.BufferedReader) else b""
        for magic, what in MAGIC.items():
            if head.startswith(magic):
                raise ImportFault(f"{path} is {what}")
        encoding = next((name for bom, name in BOMS.items() if head.startswith(bom)), "utf-8")
        if encoding == "utf-8" and b"\x00" in head:
            raise ImportFault(f"{path} is not UTF-8 (it looks like UTF-16 without a byte order mark): save it as UTF-8")
        yield source, encoding


class _Bounded(io.RawIOBase):
    """What gzip unpacks to, up to a bound."""

    def __init__(self, packed: gzip.GzipFile, path: Path) -> None:
        self._packed, self._path, self._left = packed, path, UNPACKED_BYTES_MAX

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: memoryview) -> int:  # type: ignore[override]
        got = self._packed.readinto(buffer)
        self._left -= got
        if self._left < 0:
            raise ImportFault(f"{self._path} unpacks to more than {UNPACKED_BYTES_MAX} bytes")
        return got


def text_lines(path: Path) -> Iterator[str]:
    """Yield the lines of a text, with their ends.

    Raises:
        ImportFault: it cannot be read, or a line is too long.
    """
    with opened(path) as (source, encoding):
        lines = io.TextIOWrapper(source, encoding=encoding, newline="")
        number = 0
        while line := lines.readline(LINE_CHARS_MAX):
            number += 1
            if len(line) >= LINE_CHARS_MAX:
                raise ImportFault(f"{path}, line {number} has more than {LINE_CHARS_MAX} characters")
            yield line


def byte_lines(path: Path, bytes_max: int) -> Iterator[bytes]:
    """Yield the lines of a file as bytes that are UTF-8 if the file is text at all.

    Raises:
        ImportFault: it cannot be read, or a line is too long.
    """
    with opened(path) as (source, encoding):
        if encoding == "utf-16":
            yield from (line.encode() for line in io.TextIOWrapper(source, encoding=encoding))
            return
        number = 0
        while line := source.readline(bytes_max + 1):
            number += 1
            if len(line) > bytes_max:
                raise ImportFault(f"{path}, line {number} has more than {bytes_max} bytes")
            yield line


def whole(path: Path, bytes_max: int, advice: str) -> bytes:
    """Return a file as UTF-8.

    Raises:
        ImportFault: it cannot be read, or is too large.
    """
    with opened(path) as (source, encoding):
        data = source.read(bytes_max + 1)
        if len(data) > bytes_max:
            raise ImportFault(f"{path} has more than {bytes_max} bytes: {advice}")
        return data.decode(encoding).encode() if encoding != "utf-8" else data
