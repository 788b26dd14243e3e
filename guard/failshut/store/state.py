"""What a store says of itself that means: not here, not now. By name, and never held on to.

A driver keeps its connection after an answer like READONLY, and so talks for good to a node that was a primary once. Here
each such answer is a `WrongStore`: the connection is thrown away, and the next one goes where the address leads by then.
A cluster is refused: a guard reads and a monitor writes what lies in different slots at one instant. docs/connecting.md.
"""

from __future__ import annotations

import re
from typing import Any, Final

from redis import exceptions as errors

RELOOK_SECONDS: Final = 2.0
"""How long a connection is taken for one to a primary before it is asked again."""
AGE_SECONDS_MAX: Final = 60.0
"""Then a connection is made anew: a name, a router or a Sentinel may lead elsewhere, with nobody having cut it."""

_CLUSTER: Final = "it is a node of a cluster, which is not supported: name a store that is no cluster"
_REPLICA: Final = "it is a replica: a primary is needed, and is looked for again"
_MEANING: Final = {
    "READONLY": _REPLICA,
    "UNBLOCKED": _REPLICA,
    "MASTERDOWN": "it is a replica that has lost its primary; a primary is looked for again",
    "LOADING": "it is still loading its data",
    "MOVED": _CLUSTER,
    "ASK": _CLUSTER,
    "CLUSTERDOWN": _CLUSTER,
    "CROSSSLOT": _CLUSTER,
    "TRYAGAIN": _CLUSTER,
    "NOREPLICAS": "it has fewer replicas than it must have to be written to",
    "MISCONF": "it cannot save to its disk and so refuses to be written to",
    # Of HELLO, not of an error.
    "cluster_enabled:1": _CLUSTER,
    "role:replica": _REPLICA,
    "mode:sentinel": "it is a Sentinel: write redis+sentinel://HOST:26379/SERVICE/0",
}
#: Waiting does not help.
_LASTING: Final = frozenset({*(code for code, meaning in _MEANING.items() if meaning is _CLUSTER), "mode:sentinel"})
_BY_CLASS: Final[tuple[tuple[type[Exception], str], ...]] = (
    (errors.ReadOnlyError, "READONLY"),
    (errors.BusyLoadingError, "LOADING"),
    (errors.MasterDownError, "MASTERDOWN"),
    (errors.ClusterDownError, "CLUSTERDOWN"),
    (errors.MovedError, "MOVED"),
    (errors.AskError, "ASK"),
    (errors.ClusterCrossSlotError, "CROSSSLOT"),
    (errors.TryAgainError, "TRYAGAIN"),
)
#: At the beginning of an answer, or behind a dash in what older servers say of a script.
_BY_TEXT: Final = re.compile(rf"(?:^|\s-)({'|'.join(code for code in _MEANING if code.isupper())})\b")


class WrongStore(errors.ConnectionError):
    """This store must not be used, or not now. The connection to it has been thrown away. `code` as the server has it."""

    def __init__(self, where: str, code: str) -> None:
        super().__init__(f"the store {where}: {_MEANING[code]} ({code})")
        self.code = code
        self.lasting = code in _LASTING
        """Waiting does not help: it is a cluster's node, or no store at all."""


def wrong_store(error: Exception, where: str) -> WrongStore | None:
    """Return what an error of the driver says of the store; None if it says nothing of the kind."""
    for kind, code in _BY_CLASS:
        if isinstance(error, kind):
            return WrongStore(where, code)
    found = _BY_TEXT.search(str(error)) if isinstance(error, errors.ResponseError) else None
    return WrongStore(where, found[1]) if found else None


def judge_hello(answer: Any, where: str) -> WrongStore | None:
    """Return what an answer to HELLO says against the store; None if it is a primary by itself, or does not say.

    HELLO needs no right in an ACL and is answered by every server since Redis 6; what stands between may not know it.
    """
    said = _fields(answer)
    if said.get("mode") == "cluster":
        return WrongStore(where, "cluster_enabled:1")
    if said.get("mode") == "sentinel":
        return WrongStore(where, "mode:sentinel")
    if said.get("role") in ("replica", "slave"):
        return WrongStore(where, "role:replica")
    return None


def _fields(answer: Any) -> dict[str, str]:
    pairs = list(answer.items()) if isinstance(answer, dict) else []
    if isinstance(answer, list):
        pairs = list(zip(answer[::2], answer[1::2], strict=False))
    return {_text(name): _text(value) for name, value in pairs}


def _text(value: Any) -> str:
    return value.decode("utf-8", "replace") if isinstance(value, bytes) else str(value)
