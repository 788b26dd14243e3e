"""Reads the YAML of a policy, in time that its size bounds.

YAML lets a few bytes cost much: brackets in brackets, aliases of aliases, a hundred thousand empty lists. So a text is
scanned first, as events and without building anything. The scan ends at the first alias, and at a depth or a number of
nodes that no policy has. Only what passes is built. A key that is given twice is refused, because the second would
silently win.

Both passes are libyaml's where PyYAML was built with it (its packages are), which is eight times as fast.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import yaml

DEPTH_MAX = 32
NODES_MAX = 10_000
"""Values in one policy: of its conditions, their parameters, its lists."""

_Base: Any = getattr(yaml, "CSafeLoader", yaml.SafeLoader)


class PolicyError(ValueError):
    """A policy that cannot be used: what is wrong, and where.

    Its words go to the log. Where the text is no policy at all, `line` counts from 1 (0: not known), and `why` is without it.
    """

    def __init__(self, words: str, line: int = 0, why: str = "") -> None:
        super().__init__(words)
        self.line, self.why = line, why or words

    def anew(self) -> PolicyError:
        """Return the same error without its traceback, which holds what was half read."""
        return PolicyError(str(self), self.line, self.why)


class FieldFault(ValueError):
    """A fault in one field of a policy that only a look at the whole policy shows."""

    def __init__(self, field: str, why: str) -> None:
        super().__init__(f"{field}: {why}")
        self.field, self.why = field, why


class _StrictLoader(_Base):  # type: ignore[misc]
    """YAML that refuses a key given twice."""

    def construct_mapping(self, node: yaml.MappingNode, deep: bool = False) -> dict[Any, Any]:
        seen: set[str] = set()
        for key in [key for key, _ in node.value if isinstance(key, yaml.ScalarNode)]:
            if key.value in seen:
                raise _at(key.start_mark.line + 1, f"{key.value!r} is given twice")
            seen.add(key.value)
        return super().construct_mapping(node, deep)  # type: ignore[no-any-return]


def read_yaml(text: str) -> object:
    """Return what a text says.

    Raises:
        PolicyError: it is no YAML, or none that a policy may be.
    """
    count_nodes(text)
    try:
        return yaml.load(text, _StrictLoader)  # noqa: S506 - a SafeLoader's subclass
    except PolicyError:
        raise
    except Exception as error:  # tags and dates raise whatever they like
        raise _not_yaml(error) from error


def count_nodes(text: str) -> int:
    """Return how many values a text has, without building any.

    Raises:
        PolicyError: it is no YAML, has an alias, or more values or a greater depth than a policy may have.
    """
    depth = nodes = 0
    for event in _events(text):
        if isinstance(event, yaml.AliasEvent):
            raise _at(_line(event), "aliases are not taken: write it out")
        if isinstance(event, yaml.CollectionEndEvent):
            depth -= 1
        elif isinstance(event, yaml.NodeEvent):
            nodes += 1
            depth += isinstance(event, yaml.CollectionStartEvent)
        if depth > DEPTH_MAX:
            raise _at(_line(event), f"nested more than {DEPTH_MAX} deep", "not YAML of a policy: ")
        if nodes > NODES_MAX:
            raise _at(_line(event), f"more than {NODES_MAX} values", "not YAML of a policy: ")
    return nodes


def _events(text: str) -> Iterator[yaml.Event]:
    try:
        yield from yaml.parse(text, _StrictLoader)
    except Exception as error:  # readers and scanners have errors of their own each
        raise _not_yaml(error) from error


def _not_yaml(error: Exception) -> PolicyError:
    words = " ".join(str(error).split())[:300]
    mark = getattr(error, "problem_mark", None)
    why = " ".join(part for part in (getattr(error, "problem", None), getattr(error, "context", None)) if part)
    return PolicyError(f"not YAML: {words}", mark.line + 1 if mark else 0, f"not YAML: {why or words}")


def _at(line: int, why: str, prefix: str = "") -> PolicyError:
    return PolicyError(f"{prefix}line {line}: {why}", line, why)


def _line(event: yaml.Event) -> int:
    return event.start_mark.line + 1 if event.start_mark else 0
