"""Words that a person reads: on a terminal, in a log, in a denial. They may not command the terminal.

What a decision says comes from operators, policies and producers. It becomes part of signed statements, of services'
logs and of screens. So unprintable characters are written as escapes before that.
"""

from __future__ import annotations


def printable(text: str) -> str:
    """Return a text with every character that cannot be printed as its escape.

    >>> printable("locked by ada" + chr(27) + "[2J")
    'locked by ada\\\\x1b[2J'
    """
    if text.isprintable():
        return text
    return "".join(
        character if character.isprintable() else character.encode("unicode_escape").decode("ascii") for character in text
    )
