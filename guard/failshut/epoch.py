"""The fencing number of a gate: one integer that only grows, as text of fixed width.

An epoch is `term * 2**40 + offset`. The term is that of the evidence log; only an operator's signed act raises
it. The offset is that of the decision that last changed the gate. It stays below 2**53, where Lua and
JavaScript stop counting. It is sent as 16 zero-padded digits, because Lua prints only 14. Texts of one width
compare as the numbers do.
"""

from __future__ import annotations

OFFSET_BITS = 40
OFFSET_MAX = (1 << OFFSET_BITS) - 1
TERM_MAX = (1 << 13) - 1
WIDTH = 16
#: Smaller than every epoch of a decision: what a guard has seen before it has seen anything.
ZERO = "0" * WIDTH


def digits(number: int) -> str:
    """Return `number` as 16 digits, the width in which they are compared. Raises ValueError out of range."""
    if not 0 <= number < 1 << 53:
        raise ValueError(f"{number} does not fit in 53 bits")
    return f"{number:0{WIDTH}d}"


def number_of(term: int, offset: int) -> int:
    """Return the epoch of the decision at `offset` of the log's term `term`, as a number. Raises ValueError out of range."""
    if not 0 <= term <= TERM_MAX:
        raise ValueError(f"term {term} is not between 0 and {TERM_MAX}")
    if not 0 <= offset <= OFFSET_MAX:
        raise ValueError(f"offset {offset} is not between 0 and {OFFSET_MAX}")
    return (term << OFFSET_BITS) + offset


def epoch_of(term: int, offset: int) -> str:
    """Return the epoch of the decision at `offset` of the log's term `term`, as it travels. Raises ValueError out of range.

    >>> epoch_of(1, 7)
    '0001099511627783'
    """
    return digits(number_of(term, offset))


def is_epoch(text: object) -> bool:
    """Return whether `text` is an epoch as it travels: 16 ASCII digits, below 2**53."""
    return isinstance(text, str) and len(text) == WIDTH and text.isascii() and text.isdigit() and int(text) < 1 << 53


def term_of(epoch: str) -> int:
    """Return the term in an epoch."""
    return int(epoch) >> OFFSET_BITS


def fence(epoch: str, offset: int) -> str:
    """Return epoch and offset as one text: what every shared write is compared by."""
    return epoch + digits(offset)
