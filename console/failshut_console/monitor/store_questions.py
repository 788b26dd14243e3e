"""Questions to the store, so many in one transaction; no answer is longer than anything of ours.

Whoever can write the store can put anything under a gate's keys. So each value is asked for up to its bound alone, and what is
of another type counts as empty.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

from redis.exceptions import NoPermissionError

from failshut.seal import SEAL_BYTES_MAX
from failshut.signing import TOKEN_BYTES_MAX
from failshut.store.answers import VALUE_BYTES_MAX
from failshut.store.names import Names

ASKED_AT_ONCE = 100
"""Gates in one transaction: with the longest values that are read their answer stays below its bound."""


def asked(redis: Any, about: Sequence[Any], ask: Callable[[Any, Any], object]) -> list[Any]:
    """Ask about each, so many in one transaction; an answer may be an error.

    Raises:
        NoPermissionError: this login may not ask. What may not be seen is not absent: no gate is CLOSED by that.
    """
    answers: list[Any] = []
    for start in range(0, len(about), ASKED_AT_ONCE):
        with redis.pipeline(transaction=True) as pipe:
            for one in about[start : start + ASKED_AT_ONCE]:
                ask(pipe, one)
            answers += pipe.execute(raise_on_error=False)
            for answer in answers:
                if isinstance(answer, NoPermissionError):
                    raise answer
    return answers


def ask_worker(pipe: Any, key: Any) -> None:
    """Ask for what a worker says of itself."""
    pipe.getrange(key, 0, VALUE_BYTES_MAX - 1)


def ask_gate(pipe: Any, ours: Names, gate: str) -> None:
    """Ask for a gate's record, its life, and the status beside it: three answers."""
    pipe.getrange(ours.record(gate), 0, TOKEN_BYTES_MAX)  # one byte more than a token may have
    pipe.pttl(ours.record(gate))
    pipe.getrange(ours.status(gate), 0, VALUE_BYTES_MAX - 1)


def ask_seal(pipe: Any, ours: Names, partition: int) -> None:
    """Ask for a partition's seal and its life: two answers."""
    pipe.getrange(ours.seal(partition), 0, SEAL_BYTES_MAX)  # one byte more than a seal may have
    pipe.pttl(ours.seal(partition))


def whole(answer: Any) -> bytes:
    """Return a value; empty where the key holds something of another type, which says nothing."""
    return answer if isinstance(answer, bytes) else b""
