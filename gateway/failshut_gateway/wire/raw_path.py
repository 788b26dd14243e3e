"""The gate in a path, taken from the bytes that were sent.

A decoded path is a guess at what somebody meant: `%2e%2e%2f` and `../` look alike in it. Envoy sends its client's path below
our prefix as it came, so that path is a stranger's. The gate is the first segment behind the prefix. Whatever could make
another reader find another gate there is refused.
"""

from __future__ import annotations

import functools
import re
from typing import Final

from failshut.store.names import GATE_PATTERN

FORWARD_AUTH: Final = b"/v1/forward-auth"
PATH_BYTES_MAX: Final = 4_096
_GATE: Final = re.compile(GATE_PATTERN.removesuffix("$").encode())
#: What another reader of the path might take for a slash, for a step up, or for an end.
_TRICKS: Final = re.compile(
    rb"//|\\|[^!-~]|[?#]"  # two slashes, a backslash, what is not printable ASCII
    rb"|/\.{1,2}(?:[/;]|$)"  # a dot segment
    rb"|%(?:2[eEfF]|5[cC]|[01][0-9a-fA-F]|7[fF])"  # an encoded dot, slash, backslash or control character
    rb"|%25[0-9a-fA-F]{2}|%(?![0-9a-fA-F]{2})"  # encoded twice, or not to the end
)


@functools.lru_cache(maxsize=1_024)
def gate_of(raw_path: bytes) -> str | None:
    """Return the gate that a path of forward auth names; None if it names none, or looks like a trick.

    >>> gate_of(b"/v1/forward-auth/payments.refund/orders/7")
    'payments.refund'
    >>> gate_of(b"/v1/forward-auth/payments.refund/../fleet.scale") is None
    True
    """
    if len(raw_path) > PATH_BYTES_MAX or not raw_path.startswith(FORWARD_AUTH + b"/"):
        return None
    if _TRICKS.search(raw_path):
        return None
    segment, _, _ = raw_path[len(FORWARD_AUTH) + 1 :].partition(b"/")
    return segment.decode("ascii") if _GATE.fullmatch(segment) else None
