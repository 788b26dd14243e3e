"""The gateway's counters in Prometheus's text format. Labels are words of this package; no caller adds one."""

from __future__ import annotations

from collections.abc import Iterable, Mapping

#: Name, kind, help, and values by label (or under the empty text).
Family = tuple[str, str, str, Mapping[str, float]]


def exposition(families: Iterable[Family], label: str = "why") -> str:
    """Return families in the text format, version 0.0.4.

    >>> print(exposition([("x_total", "counter", "Things.", {"a": 1})]), end="")
    # HELP x_total Things.
    # TYPE x_total counter
    x_total{why="a"} 1
    """
    lines = []
    for name, kind, said, values in families:
        lines += [f"# HELP {name} {said}", f"# TYPE {name} {kind}"]
        lines += [f'{name}{{{label}="{value}"}} {number}' if value else f"{name} {number}" for value, number in values.items()]
    return "\n".join(lines) + "\n"
