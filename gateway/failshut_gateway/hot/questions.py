"""AuthZEN 1.0 requests, read from JSON: one question, or several with defaults and a semantic.

Source: OpenID AuthZEN, Authorization API 1.0, sections 5 to 7. Fields that this version does not know are ignored, as the
specification asks. A member that stands twice, NaN, and what is not UTF-8 are malformed (RFC 7493). Pure functions.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Final

from failshut_gateway.wire.strict_json import strict

EVALUATIONS_MAX: Final = 100
EXECUTE_ALL: Final = "execute_all"
DENY_FIRST: Final = "deny_on_first_deny"
PERMIT_FIRST: Final = "permit_on_first_permit"
_SEMANTICS: Final = frozenset({EXECUTE_ALL, DENY_FIRST, PERMIT_FIRST})
#: An entity, and what it must have.
_ENTITIES: Final = {"subject": ("type", "id"), "action": ("name",), "resource": ("type", "id")}


class Malformed(ValueError):
    """No request of AuthZEN. The text says what is wrong, and quotes nothing."""


@dataclass(frozen=True, slots=True)
class Question:
    """One question: three entities, each with its texts and, if given, an object `properties`; and a context."""

    subject: dict[str, Any]
    action: dict[str, Any]
    resource: dict[str, Any]
    context: dict[str, Any]

    def value(self, path: str) -> object:
        """Return what stands at a path such as `subject.properties.role`; None where nothing does."""
        entity, *names = path.split(".")
        found: object = getattr(self, entity)
        for name in names:
            found = found.get(name) if isinstance(found, dict) else None
        return found


@dataclass(frozen=True, slots=True)
class Batch:
    """Several questions. One that is malformed stands as what is wrong with it."""

    questions: tuple[Question | Malformed, ...]
    semantic: str


def read_document(body: bytes) -> dict[str, Any]:
    """Return the JSON object of a body. Raises Malformed."""
    try:
        document = strict(body)
    except (ValueError, RecursionError) as error:
        raise Malformed("the body is not JSON in UTF-8, or a member stands twice") from error
    if not isinstance(document, dict):
        raise Malformed("the body is not a JSON object")
    return document


def read_question(document: dict[str, Any]) -> Question:
    """Return the question in a document. Raises Malformed."""
    entities = {name: _entity(name, document.get(name)) for name in _ENTITIES}
    return Question(**entities, context=_object("context", document.get("context", {})))


def read_batch(document: dict[str, Any]) -> Batch | Question:
    """Return the questions in a document; one question if it has no list of them. Raises Malformed."""
    items = document.get("evaluations", [])
    if not isinstance(items, list):
        raise Malformed("evaluations is not a list")
    if not items:
        return read_question(document)
    if len(items) > EVALUATIONS_MAX:
        raise Malformed(f"more than {EVALUATIONS_MAX} evaluations")
    semantic = _object("options", document.get("options", {})).get("evaluations_semantic", EXECUTE_ALL)
    if not isinstance(semantic, str) or semantic not in _SEMANTICS:
        raise Malformed("evaluations_semantic is none of the three")
    defaults: dict[str, Any] = {name: _entity(name, document[name]) for name in _ENTITIES if name in document}
    if "context" in document:
        defaults["context"] = _object("context", document["context"])
    return Batch(tuple(_item(defaults, item) for item in items), semantic)


def _item(defaults: dict[str, Any], item: object) -> Question | Malformed:
    try:
        return read_question({**defaults, **_object("an evaluation", item)})
    except Malformed as error:
        return error


def _entity(name: str, value: object) -> dict[str, Any]:
    if value is None:
        raise Malformed(f"{name} is missing")
    entity = _object(name, value)
    for member in _ENTITIES[name]:
        text = entity.get(member)
        if not isinstance(text, str) or not text:
            raise Malformed(f"{name}.{member} is missing, or not text")
    _object(f"{name}.properties", entity.get("properties", {}))
    return entity


def _object(name: str, value: object) -> dict[str, Any]:
    if not isinstance(value, dict):
        raise Malformed(f"{name} is not an object")
    return value
