"""All that is wrong with a policy's text, each fault with its place, for whoever mends it.

A governor needs to know whether a policy can be used, and one text for the log: `parse_policy` raises that, and ends at the
first condition that cannot be read. Whoever writes the policy wants all faults at once, and where each is. So here every
condition is read by itself, and places are values: a path of keys and numbers, or a line where the text is no policy at all.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, NamedTuple

from pydantic import BaseModel, ValidationError

from failshut_breakers.policy.conditions import KINDS, read_condition
from failshut_breakers.policy.plain_words import did_you_mean, plain_words
from failshut_breakers.policy.policy import CONDITIONS_MAX, FAULT_CHARS_MAX, FAULTS_MAX, Policy, read_mapping
from failshut_breakers.policy.yaml_reader import FieldFault, PolicyError


class PolicyFault(NamedTuple):
    """One thing that is wrong with a policy."""

    path: tuple[str, ...]
    """Keys and numbers from the document's root; empty where it is said of the whole."""
    why: str
    line: int = 0
    """It counts from 1 where the text is no policy, so that there is no path; 0 elsewhere."""


def faults_of(text: str) -> list[PolicyFault]:
    """Return all that is wrong with a policy's text; nothing where the policy can be used.

    >>> [(fault.path, fault.line) for fault in faults_of("gate: a\\ngate: b\\n")]
    [((), 2)]
    >>> [fault.path for fault in faults_of("gate: a\\npermit: {ttl: 3s}\\nconditions: [{heartbeat: {grace: x}}]\\n")]
    [('conditions', '0', 'heartbeat', 'grace')]
    """
    try:
        raw = read_mapping(text)
    except PolicyError as error:
        return [PolicyFault((), error.why, error.line or 1)]
    try:
        Policy.model_validate(raw)
    except ValidationError as error:
        conditions = list(_of_conditions(raw.get("conditions")))
        # A policy's own reading ends at the first bad condition, and does not say which one that was.
        others = [fault for fault in _told(error, (), Policy) if not conditions or fault.path[:1] != ("conditions",)]
        return conditions + others
    except RecursionError:
        return [PolicyFault((), "nested too deeply", 1)]
    return []


def _of_conditions(listed: object) -> Iterator[PolicyFault]:
    for number, item in enumerate(listed[:CONDITIONS_MAX] if isinstance(listed, list) else ()):
        kind = [str(key) for key in item] if isinstance(item, dict) and len(item) == 1 else []
        path = ("conditions", str(number), *kind)
        try:
            read_condition(item)
        except ValidationError as error:
            yield from _told(error, path, KINDS.get(kind[0]) if kind else None)
        except ValueError as error:
            meant = did_you_mean(kind[0], KINDS) if kind and kind[0] not in KINDS else ""
            yield PolicyFault(path, _plain(f"{error}{meant}"))


def _told(error: ValidationError, path: tuple[str, ...], model: type[BaseModel] | None) -> Iterator[PolicyFault]:
    for fault in error.errors(include_url=False)[:FAULTS_MAX]:
        raised: Any = fault.get("ctx", {}).get("error")
        where = (*path, *(str(part) for part in fault["loc"]))
        if isinstance(raised, FieldFault):
            yield PolicyFault((*where, raised.field), _plain(raised.why))
        else:
            yield PolicyFault(where, _plain(plain_words(fault, model)))


def _plain(words: str) -> str:
    """Return words that can be written anywhere: a text may hold what is no Unicode."""
    return words[:FAULT_CHARS_MAX].encode("utf-8", "backslashreplace").decode()
