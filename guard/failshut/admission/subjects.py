"""Who executes, and what: the texts that a caller names, and the patterns of a permit that they must match.

A name is exactly a `str` of 1 to 512 printable characters. Anything else is refused before it is compared. Examples are
a tuple that equals another call's subject, a subclass that claims to equal everything, and a newline after an honest
name. In a pattern `*` matches any run of characters and `?` matches one. Every other character, brackets included,
matches itself, and case matters. Limit: two spellings of one letter (composed, decomposed) are two names.
"""

from __future__ import annotations

from typing import Final

NAME_CHARS_MAX: Final = 512


def why_no_name(what: str, name: object) -> str:
    """Return why `name` names nobody and nothing; an empty text where it is a name. Takes any object, and asks it nothing."""
    if type(name) is not str:
        return f"{what} is of type {type(name).__name__}, not text"
    if not 0 < len(name) <= NAME_CHARS_MAX:
        return f"{what} has {len(name)} characters; it has 1 to {NAME_CHARS_MAX}"
    if not name.isprintable():
        return f"{what} has characters that cannot be printed: {name!r}"
    return ""


def matches(patterns: tuple[str, ...], name: str) -> bool:
    """Return whether one of the patterns covers all of the name.

    >>> matches(("agent:*",), "agent:7"), matches(("agent:?",), "agent:77"), matches(("a[b]",), "ab")
    (True, False, False)
    """
    return any(_covers(pattern, name) for pattern in patterns)


def _covers(pattern: str, name: str) -> bool:
    """Return whether it matches. Steps are bounded by the product of both lengths, whatever the pattern."""
    at = here = retry = 0
    star = -1
    while here < len(name):
        sign = pattern[at] if at < len(pattern) else ""
        if sign == "*":
            star, retry = at, here
            at += 1
        elif sign == "?" or sign == name[here]:
            at += 1
            here += 1
        elif star >= 0:  # the last star takes one more
            retry += 1
            at, here = star + 1, retry
        else:
            return False
    return not pattern[at:].strip("*")
