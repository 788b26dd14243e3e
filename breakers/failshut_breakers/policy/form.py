"""What a policy says, in one form, and the digest of it by which permits and decisions name the policy.

The problem: a digest of the file's bytes is another one after a comment, a blank, or a change of order. A gate whose policy
says the same would begin a new epoch.

The idea: the form holds what the policy says beyond the defaults, in one order. Units, comments, the order of keys, of
conditions, of subjects and of operations, and defaults that were written out leave no trace in it. A later version with one
setting more names a policy that does not use it as before.

Limits: two rules that mean the same and are written in other words are two. A condition's name is a part of what is said:
orders and closings name it.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from typing import Any

from failshut_breakers.policy.conditions import Model
from failshut_breakers.policy.detection import Detection
from failshut_breakers.policy.rule import Criterion


def digest_of_form(form: Mapping[str, Any]) -> str:
    """Return `sha256:` and the digest of a form."""
    text = json.dumps(form, sort_keys=True, separators=(",", ":"))
    return "sha256:" + hashlib.sha256(text.encode()).hexdigest()


def named_settings(model: Model) -> list[Any]:
    """Return the kind of a part of a policy, and its settings."""
    return [type(model).__name__.lower(), settings_of(model)]


def settings_of(model: Model, without: tuple[str, ...] = ()) -> dict[str, Any]:
    """Return the settings that are not the default, as lists, texts, numbers and mappings by text."""
    fields = type(model).model_fields
    said = {name: getattr(model, name) for name in fields if name not in without}
    kind = getattr(model, "kind", None)
    return {
        name: _plain(value, kind)
        for name, value in said.items()
        if fields[name].is_required() or value != fields[name].get_default(call_default_factory=True)
    }


def _plain(value: object, kind: Any) -> Any:
    match value:
        case Model():
            return settings_of(value)
        case Detection():
            return value.form(kind)
        case Criterion():
            return value.form
        case tuple():
            return [_plain(one, kind) for one in value]
        case Mapping():
            return {str(name): _plain(one, kind) for name, one in value.items()}
    return value
