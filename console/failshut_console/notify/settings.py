"""Who is told, as an operator says it in a file of TOML: one table for each target.

    [[target]]
    name = "on-call"
    kind = "pagerduty"
    routing_key_file = "/run/secrets/pagerduty"
    gates = ["payments.*"]

    [[target]]
    name = "channel"
    kind = "slack"
    url_env = "SLACK_URL"

A secret stands in a file or in the environment, never here: SETTING_file or SETTING_env. A file is read at each delivery, so a
new secret counts at once. What is not known is refused: somebody may have meant it.
"""

from __future__ import annotations

import contextlib
import os
import re
import tomllib
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final
from urllib.parse import urlsplit

from failshut.admission.subjects import matches
from failshut_breakers.policy.units import parse_duration_ms
from failshut_console.notify.news import EVENTS, News
from failshut_streams.kafka.topics import Topics

FILE_BYTES_MAX: Final = 256 * 1024
SECRET_BYTES_MAX: Final = 8 * 1024
TARGETS_MAX: Final = 16
PATTERNS_MAX: Final = 100
GIVE_UP: Final = "24h"
PAGERDUTY: Final = "https://events.pagerduty.com/v2/enqueue"
SEVERITIES: Final = ("critical", "error", "warning", "info")

_NAME: Final = re.compile(r"[a-z0-9][a-z0-9_-]{0,62}")
_COMMON: Final = frozenset({"name", "kind", "gates", "on", "give_up"})
#: Of each kind: texts that it may have, secrets that it must have, and secrets that it may have.
_KINDS: Final[dict[str, tuple[frozenset[str], tuple[str, ...], tuple[str, ...]]]] = {
    "webhook": (frozenset({"url", "ca", "proxy"}), (), ("url", "token")),
    "slack": (frozenset({"ca", "proxy"}), ("url",), ()),
    "pagerduty": (frozenset({"url", "ca", "proxy", "severity"}), ("routing_key",), ()),
    "alertmanager": (frozenset({"url", "ca", "proxy", "severity"}), (), ("url", "token")),
    "apprise": (frozenset(), ("url",), ()),
    "topic": (frozenset({"topic"}), (), ("broker",)),
}
KINDS: Final = tuple(_KINDS)


class BadTargets(ValueError):
    """No file of targets. The text quotes no secret."""


class NoSecret(Exception):
    """A secret cannot be read now."""


@dataclass(frozen=True, slots=True)
class Secret:
    """Where a secret stands: a file, or a variable of the environment."""

    file: str = ""
    variable: str = ""

    def read(self) -> str:
        """Return the secret as it is now. Raises NoSecret."""
        if self.variable:
            value = os.environ.get(self.variable, "")
        else:
            try:
                with Path(self.file).open("rb") as file:
                    value = file.read(SECRET_BYTES_MAX).decode("utf-8")
            except (OSError, ValueError) as error:
                raise NoSecret(f"{self.file} cannot be read: {type(error).__name__}") from None
        if not value.strip():
            raise NoSecret(f"{self.variable or self.file} is empty")
        return value.strip()


@dataclass(frozen=True, slots=True)
class Target:
    """Who is told of what. `texts` and `secrets` are the settings of its kind."""

    name: str
    kind: str
    gates: tuple[str, ...]
    on: tuple[str, ...]
    give_up_ms: int
    texts: dict[str, str]
    secrets: dict[str, Secret]

    def wants(self, news: News) -> bool:
        """Return whether it is told of this."""
        return news.event in self.on and matches(self.gates, news.gate)

    def setting(self, name: str, otherwise: str = "") -> str:
        """Return a setting, secret or not. Raises NoSecret."""
        secret = self.secrets.get(name)
        return self.texts.get(name, otherwise) if secret is None else secret.read()


def read_targets(content: bytes, prefix: str = "") -> list[Target]:
    """Return the targets of a file. Raises BadTargets."""
    if len(content) > FILE_BYTES_MAX:
        raise BadTargets(f"more than {FILE_BYTES_MAX} bytes")
    try:
        document = tomllib.loads(content.decode("utf-8"))
    except (ValueError, RecursionError) as error:
        raise BadTargets(f"not TOML: {error}") from error
    tables = document.pop("target", None)
    if document or not isinstance(tables, list) or not 0 < len(tables) <= TARGETS_MAX:
        raise BadTargets(f"it has 1 to {TARGETS_MAX} tables [[target]], and nothing else")
    found = [_target(table, number, prefix) for number, table in enumerate(tables, 1)]
    if len({target.name for target in found}) != len(found):
        raise BadTargets("two targets have one name")
    return found


def _target(table: Any, number: int, prefix: str) -> Target:
    name = table.get("name") if isinstance(table, dict) else None
    if not isinstance(name, str) or not _NAME.fullmatch(name):
        raise BadTargets(f"target {number}: its name is 1 to 63 of a to z, 0 to 9, - and _")
    kind = table.get("kind")
    if kind not in _KINDS:
        raise BadTargets(f"{name}: kind is one of {', '.join(KINDS)}")
    texts, must, may = _KINDS[kind]
    secret = {f"{one}_{where}": (one, where) for one in (*must, *may) for where in ("file", "env")}
    unknown = sorted(set(table) - _COMMON - texts - set(secret))
    if unknown:
        hint = [f"{one}_file or {one}_env" for one in unknown if one in must + may]
        more = f" (a secret stands elsewhere: {hint[0]})" if hint else ""
        raise BadTargets(f"{name}: {unknown[0]} is no setting of a {kind}{more}")
    for one in texts | set(secret):
        if one in table and not (isinstance(table[one], str) and table[one].strip()):
            raise BadTargets(f"{name}: {one} is a text")
    secrets: dict[str, Secret] = {}
    for one, (setting, where) in secret.items():
        if one in table:
            if setting in secrets or setting in table:
                raise BadTargets(f"{name}: {setting} is given once")
            secrets[setting] = Secret(file=table[one]) if where == "file" else Secret(variable=table[one])
    for setting in must:
        if setting not in secrets:
            raise BadTargets(f"{name}: a {kind} has {setting}_file or {setting}_env")
    target = Target(
        name=name,
        kind=kind,
        gates=_texts(table, name, "gates", ("*",)),
        on=_texts(table, name, "on", EVENTS),
        give_up_ms=_give_up(table, name),
        texts={one: table[one] for one in texts if one in table},
        secrets=secrets,
    )
    _check(target, prefix)
    return target


def _texts(table: dict[str, Any], name: str, setting: str, otherwise: tuple[str, ...]) -> tuple[str, ...]:
    found = table.get(setting, list(otherwise))
    if not isinstance(found, list) or not 0 < len(found) <= PATTERNS_MAX or not all(isinstance(one, str) for one in found):
        raise BadTargets(f"{name}: {setting} is a list of 1 to {PATTERNS_MAX} texts")
    return tuple(found)


def _give_up(table: dict[str, Any], name: str) -> int:
    try:
        return parse_duration_ms(table.get("give_up", GIVE_UP))
    except ValueError as error:
        raise BadTargets(f"{name}: give_up: {error}") from None


def _check(target: Target, prefix: str) -> None:
    """Refuse what cannot be meant. Secrets are read once, so that a wrong name is found before anything happens."""
    name, kind = target.name, target.kind
    if not set(target.on) <= set(EVENTS):
        raise BadTargets(f"{name}: on is a list of {' and '.join(EVENTS)}")
    if kind == "alertmanager" and len(target.on) < len(EVENTS):
        raise BadTargets(f"{name}: an alertmanager is told of both, or its alerts never end")
    if target.texts.get("severity", SEVERITIES[0]) not in SEVERITIES:
        raise BadTargets(f"{name}: severity is one of {', '.join(SEVERITIES)}")
    if kind in ("webhook", "alertmanager") and "url" not in target.texts and "url" not in target.secrets:
        raise BadTargets(f"{name}: a {kind} has url, url_file or url_env")
    if kind == "topic":
        topic = target.texts.get("topic", "")
        if not re.fullmatch(r"[A-Za-z0-9._-]{1,249}", topic):
            raise BadTargets(f"{name}: topic is the name of a topic")
        with contextlib.suppress(KeyError):
            Topics(prefix).role(topic)  # what a monitor decided may not come back to what it reads
            raise BadTargets(f"{name}: {topic} is the name of a monitor's own topic: name another one")
    for setting, secret in target.secrets.items():
        try:
            value = secret.read()
        except NoSecret as error:
            raise BadTargets(f"{name}: {setting}: {error}") from None
        if setting == "url" and kind != "apprise":
            _check_url(name, value)
    for setting in ("url", "proxy"):
        if setting in target.texts:
            _check_url(name, target.texts[setting])
            if "@" in urlsplit(target.texts[setting]).netloc:
                raise BadTargets(f"{name}: {setting} holds a login: a secret stands in a file, {setting}_file")


def _check_url(name: str, url: str) -> None:
    try:
        parts = urlsplit(url)
        fits = parts.scheme in ("http", "https") and bool(parts.hostname) and (parts.port or 1) > 0
    except ValueError:
        fits = False
    if not fits or not url.isprintable() or " " in url:
        raise BadTargets(f"{name}: its URL is none of http or https")
