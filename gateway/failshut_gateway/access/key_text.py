"""The text of an access key: an id that is no secret, 256 secret bits, and a checksum.

`fsk_`, 8 characters of id, 43 of secret, 6 of CRC-32, all in base 62. A secret scanner finds it by one pattern
(`KEY_PATTERN`), and the checksum tells it from a text that only looks like one. The file of keys holds the SHA-256 of the
whole text. A hash without salt is enough here: nobody guesses 256 bits.

Limit: the checksum proves nothing. Whoever knows this module can write a text that has one.
"""

from __future__ import annotations

import hashlib
import re
import secrets
import zlib
from typing import Final

PREFIX: Final = "fsk_"
ID_CHARS: Final = 8
SECRET_CHARS: Final = 43  # 62**43 > 2**256
CHECKSUM_CHARS: Final = 6  # 62**6 > 2**32
KEY_CHARS: Final = len(PREFIX) + ID_CHARS + SECRET_CHARS + CHECKSUM_CHARS
#: For secret scanners.
KEY_PATTERN: Final = rf"fsk_[0-9A-Za-z]{{{ID_CHARS + SECRET_CHARS + CHECKSUM_CHARS}}}"

_LETTERS: Final = "0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz"
_KEY: Final = re.compile(KEY_PATTERN.encode())
_ID_END: Final = len(PREFIX) + ID_CHARS


def new_key() -> str:
    """Return a new key, from the system's source of randomness."""
    secret = int.from_bytes(secrets.token_bytes(32))
    body = PREFIX + _base62(secrets.randbelow(62**ID_CHARS), ID_CHARS) + _base62(secret, SECRET_CHARS)
    return body + _checksum(body.encode())


def is_key(text: bytes) -> bool:
    """Return whether a text is in the form of a key, checksum included. Says nothing of whose it is."""
    if len(text) != KEY_CHARS or _KEY.fullmatch(text) is None:
        return False
    return _checksum(text[:-CHECKSUM_CHARS]).encode() == text[-CHECKSUM_CHARS:]


def id_of(key: bytes) -> str:
    """Return the id in a text that is a key."""
    return key[len(PREFIX) : _ID_END].decode("ascii")


def digest_of(key: bytes) -> bytes:
    """Return what is stored of a key: its SHA-256."""
    return hashlib.sha256(key).digest()


def _checksum(body: bytes) -> str:
    return _base62(zlib.crc32(body), CHECKSUM_CHARS)


def _base62(number: int, chars: int) -> str:
    found = ""
    for _ in range(chars):
        number, digit = divmod(number, 62)
        found = _LETTERS[digit] + found
    return found
