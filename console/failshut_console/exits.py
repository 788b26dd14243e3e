"""How a command ends: four exit statuses, and errors that say what happened, what it means and what to do.

A script that locks a gate must know whether the gate is locked. So "refused" and "could not ask" are different
statuses, and nothing but a decision that was seen counts as done.
"""

from __future__ import annotations

from enum import IntEnum


class Exit(IntEnum):
    """Exit statuses of every command."""

    DONE = 0
    REFUSED = 1  # the answer is no: a command that was refused, a policy that is bad, a demonstration that missed something
    USAGE = 2  # the question was wrong: an option, a file, an extra that is not installed
    UNREACHABLE = 3  # nobody answered: store, broker or monitor; a gate that cannot be reached is closed or will lapse


HELP = (
    "Exit status: 0 done, 1 refused (or a bad policy, or something that the demonstration missed), 2 wrong usage, "
    "3 nobody answered (store, broker or monitor)."
)


class Trouble(Exception):
    """A command that cannot do what it was asked.

    Args:
        what: what happened.
        means: what it means for the gates.
        do: what to do about it.
        status: how the command ends.
    """

    def __init__(self, what: str, means: str = "", do: str = "", status: Exit = Exit.USAGE) -> None:
        super().__init__(what)
        self.what = what
        self.means = means
        self.do = do
        self.status = status

    def lines(self) -> list[str]:
        """Return the error for a person: one line each."""
        return [
            f"failshut: {self.what}",
            *([f"  which means: {self.means}"] if self.means else []),
            *([f"  what to do:  {self.do}"] if self.do else []),
        ]


def unreachable(what: str, do: str) -> Trouble:
    """Return the error that nobody answered."""
    return Trouble(
        what,
        "only a governor's decision opens a gate, and none was seen; a permit in the store runs out unless it is renewed",
        do,
        Exit.UNREACHABLE,
    )
