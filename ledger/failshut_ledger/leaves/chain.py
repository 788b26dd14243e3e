"""Which key a ledger's leaves must be signed with, from the first leaf to the last: keys hand over on the log itself.

Whoever knows the first key needs no other. Its successor is named by a leaf that both have signed, and from there on the first
one signs nothing. A stolen old key can therefore write no leaf behind the change.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable

from failshut_ledger.errors import Malformed, Unproven
from failshut_ledger.leaves.envelope import open_envelope
from failshut_ledger.leaves.statement import KEY, key_in, read_statement
from failshut_ledger.notes.keys import Verifier


class KeyChain:
    """Takes the leaves of a ledger in order. `keys` are those that may sign the next one; `kinds` counts what was said."""

    def __init__(self, trusted: Iterable[Verifier]) -> None:
        self.keys = tuple(trusted)
        self.kinds: Counter[str] = Counter()

    def take(self, index: int, leaf: bytes) -> None:
        """Take the leaf at an index.

        Raises:
            Unproven: it is not signed by the key whose turn it is. The error is of the kind that was found.
            Malformed: it is no statement of a ledger.
        """
        try:
            payload, signed = open_envelope(leaf, self.keys)
            statement = read_statement(payload)
            key = key_in(statement)
            if key is not None and statement.predicate["kind"] == "rotate":
                open_envelope(leaf, [key])  # whoever takes over holds the new key, and says so
                if any(key.name != one.name for one in signed):
                    raise Malformed("a key of another name cannot take over")
                self.keys = (key,)
            elif key is not None and key not in signed:
                raise Malformed("a ledger begins with the key that signs its first leaf")
        except (Malformed, Unproven) as error:
            raise type(error)(f"leaf {index}: {error}") from error
        self.kinds["key" if statement.predicate_type == KEY else statement.predicate["kind"]] += 1
