"""What a server refuses is not a server that does not answer: an error that names the right that is missing.

Kafka's client and the store's raise one error for a login that may not do something. Commands say "does not answer" of whatever
goes wrong. So before an error is shown, its causes are looked through here, once, for all commands.

Limits: to a login without `Describe`, a broker does not say that a topic is there. Commands say both then.
"""

from __future__ import annotations

import re
from typing import Final

from failshut_console.exits import Exit, Trouble

_DEPTH_MAX: Final = 20
_KAFKA: Final = {
    "TopicAuthorizationFailedError": "this login may not do that to {what}",
    "GroupAuthorizationFailedError": "this login may not use the consumer group {what}",
    "ClusterAuthorizationFailedError": "this login may write to no topic, or may not do that to the cluster",
    "TransactionalIdAuthorizationFailedError": "this login may open no transaction",
}
_NAME: Final = re.compile(r"[A-Za-z0-9._-]+")


def missing_right(trouble: BaseException) -> Trouble | None:
    """Return what to say in place of an error that a missing right has caused; None where another cause has."""
    error, depth = trouble.__cause__ or trouble.__context__, 0
    while error is not None and depth < _DEPTH_MAX:
        said = _said(error)
        if said:
            return Trouble(
                said,
                "the server answered, and refused: nothing was changed, and no gate is concerned",
                "use another login, or have this one given the right (docs/connecting.md, Which rights does a login need?)",
                Exit.REFUSED,
            )
        error, depth = error.__cause__ or error.__context__, depth + 1
    return None


def _said(error: BaseException) -> str:
    kind = type(error).__name__
    if kind == "NoPermissionError":  # of redis: it names the user, and the command or that it is about a key
        return f"the store refuses: {error}"
    if kind in _KAFKA:
        return f"Kafka refuses: {_KAFKA[kind].format(what=_what(error))}"
    return ""


def _what(error: BaseException) -> str:
    """Return the names that an error of Kafka's client holds, however it holds them."""
    given = error.args[0] if error.args else ""
    names = sorted(map(str, given)) if isinstance(given, (set, frozenset, list, tuple)) else _NAME.findall(str(given))[-1:]
    return "topic " + ", ".join(names) if names else "one of the topics"
