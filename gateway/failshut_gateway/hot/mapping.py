"""Which gate, subject and operation an AuthZEN question is about: by default, or by an operator's rules.

By default a resource of the type `gate` is the gate of its id, the subject is `TYPE:ID`, and the action's name is the
operation. Rules in TOML say it for other resources:

    [[rule]]
    when = {"resource.type" = "record", "action.name" = "write"}
    gate = "records.write"
    subject = "{subject.type}:{subject.id};role={subject.properties.role}"

The first rule counts whose `when` is met. If its texts cannot be filled in, the question is denied; no later rule is tried,
because that one might be wider. A template has one meaning: what is filled in may not contain the punctuation that stands
between fields, but for the last field. So nobody named `bob;role=admin` becomes an administrator.

Limit: properties are what the caller says of its subject. The access key must cover the subject that they lead to.
"""

from __future__ import annotations

import re
import tomllib
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final, NamedTuple

from failshut_gateway.hot.questions import Question

FILE_BYTES_MAX: Final = 256 * 1024
RULES_MAX: Final = 500
_PATH: Final = r"(?:subject|action|resource)\.(?:type|id|name|properties(?:\.[A-Za-z0-9_-]{1,64}){1,4})"
_FIELD: Final = re.compile(rf"\{{({_PATH})\}}")


class BadMapping(ValueError):
    """No file of rules."""


class Target(NamedTuple):
    """What a question is about."""

    gate: str
    subject: str
    operation: str


class Template:
    """A text with fields, such as `{subject.type}:{subject.id}`. Raises BadMapping where it would have two meanings."""

    def __init__(self, text: object) -> None:
        if not isinstance(text, str) or not 0 < len(text) <= 512:
            raise BadMapping("a template is a text of 1 to 512 characters")
        parts = _FIELD.split(text)
        self._texts, self._paths = parts[0::2], parts[1::2]
        if any("{" in part or "}" in part for part in self._texts):
            raise BadMapping(f"{text!r}: a field is, for example, {{subject.id}} or {{resource.properties.status}}")
        between = self._texts[1:-1]
        if not all(re.search(r"[^A-Za-z0-9]", part) for part in between):
            raise BadMapping(f"{text!r}: between two fields stands punctuation")
        self._apart = {sign for part in between for sign in part if not sign.isalnum()}

    def filled(self, question: Question) -> str | None:
        """Return the text with its fields; None if one is missing, or could be taken for more than one field."""
        values = [_as_text(question.value(path)) for path in self._paths]
        found = self._texts[0]
        for at, value in enumerate(values):
            if not value or (at < len(values) - 1 and self._apart.intersection(value)):
                return None
            found += value + self._texts[at + 1]
        return found


@dataclass(frozen=True, slots=True)
class Rule:
    """One rule."""

    when: Mapping[str, object]
    gate: Template
    subject: Template
    operation: Template

    def is_met(self, question: Question) -> bool:
        """Return whether all of `when` is as it says; true is not 1."""
        return all(type(found := question.value(path)) is type(value) and found == value for path, value in self.when.items())


SUBJECT: Final = "{subject.type}:{subject.id}"
DEFAULT: Final = (Rule({"resource.type": "gate"}, Template("{resource.id}"), Template(SUBJECT), Template("{action.name}")),)


class Rules:
    """The rules of one gateway."""

    def __init__(self, rules: tuple[Rule, ...] = DEFAULT) -> None:
        self._rules = rules

    def target(self, question: Question) -> Target | None:
        """Return what a question is about; None if no rule says it."""
        for rule in self._rules:
            if rule.is_met(question):
                gate, subject = rule.gate.filled(question), rule.subject.filled(question)
                operation = rule.operation.filled(question)
                return None if gate is None or subject is None or operation is None else Target(gate, subject, operation)
        return None


def read_mapping(content: bytes) -> Rules:
    """Return the rules in a TOML file. Raises BadMapping."""
    if len(content) > FILE_BYTES_MAX:
        raise BadMapping(f"more than {FILE_BYTES_MAX} bytes")
    try:
        document = tomllib.loads(content.decode("utf-8"))
    except (ValueError, RecursionError) as error:
        raise BadMapping(f"not TOML: {error}") from error
    rules = document.pop("rule", None)
    if document or not isinstance(rules, list) or not 0 < len(rules) <= RULES_MAX:
        raise BadMapping(f"a file of rules has 1 to {RULES_MAX} tables [[rule]], and nothing else")
    return Rules(tuple(_rule(number, rule) for number, rule in enumerate(rules, 1)))


def _rule(number: int, rule: Any) -> Rule:
    if not isinstance(rule, dict) or not {"when", "gate"} <= set(rule) <= {"when", "gate", "subject", "operation"}:
        raise BadMapping(f"rule {number} has when and gate, and may have subject and operation")
    when = rule["when"]
    if not isinstance(when, dict) or not all(isinstance(value, str | bool | int) for value in when.values()):
        raise BadMapping(f"rule {number}: when maps paths to texts, numbers or truth values")
    for path in when:
        if not re.fullmatch(_PATH, path):
            raise BadMapping(f'rule {number}: {path[:80]!r} is no path such as "resource.properties.status", in quotes')
    try:
        gate, subject = Template(rule["gate"]), Template(rule.get("subject", SUBJECT))
        return Rule(when, gate, subject, Template(rule.get("operation", "{action.name}")))
    except BadMapping as error:
        raise BadMapping(f"rule {number}: {error}") from error


def _as_text(value: object) -> str:
    """Return a field's text; empty where there is none. Numbers with a fraction have several spellings, and so none here."""
    if isinstance(value, bool):
        return "true" if value else "false"
    return str(value) if isinstance(value, str | int) else ""
