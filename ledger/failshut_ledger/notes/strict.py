"""Reading text from strangers: one form for each value, and nothing else.

Python's own readers are lenient: `int` takes `1_0` and other alphabets' digits, base64 ignores bits at the end. Two texts that
mean the same would both verify, and a changed bit would go unseen. So a value is read, written again and compared.
"""

from __future__ import annotations

import base64
import binascii
import re

from failshut_ledger.errors import Malformed

_NUMBER = re.compile(r"0|[1-9][0-9]{0,18}")


def number(text: str, what: str) -> int:
    """Return a number of at most 19 ASCII digits without leading zeroes, below 2**63. Raises Malformed."""
    if not _NUMBER.fullmatch(text) or int(text) >= 2**63:
        raise Malformed(f"{what} is no number: {text[:40]!r}")
    return int(text)


def from_base64(text: str, what: str, length: int | None = None) -> bytes:
    """Return the bytes of standard base64 with its padding, and of this length where one is given. Raises Malformed."""
    try:
        data = base64.b64decode(text.encode("ascii"), validate=True)
    except (UnicodeEncodeError, binascii.Error, ValueError) as error:
        raise Malformed(f"{what} is not base64") from error
    if to_base64(data) != text:
        raise Malformed(f"{what} is not base64 in its one form")
    if length is not None and len(data) != length:
        raise Malformed(f"{what} has {len(data)} bytes and must have {length}")
    return data


def to_base64(data: bytes) -> str:
    """Return standard base64 with its padding."""
    return base64.b64encode(data).decode("ascii")
