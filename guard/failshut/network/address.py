"""One address says how a server is reached. What is wrong with it is said without showing any of it.

    SCHEME://[USER:PASSWORD@]HOST[:PORT][,HOST[:PORT]...][/PATH][?SETTING=VALUE&...]

An address holds a password, and a malformed one may hold it anywhere. A `/`, `?` or `#` that was not percent-encoded moves half
of the password into a port, a path or a setting. The usual parsers then quote that half in their errors, or connect to it. So
this one is strict, quotes nothing, and raises no error inside another, whose text could be printed after all.

- One `@`, and none behind the hosts; no `#`, no blank, no control character; every `%` starts two hexadecimal digits.
- Hosts are names or addresses, ports are numbers; what is left over is refused, never guessed at.
- A setting is known, appears once, and is not empty. Its name is quoted only if it is a known one.

Settings may also stand beside the address, in the environment: `with_settings` adds them. `redact` is for texts of others.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Final
from urllib.parse import quote, unquote_to_bytes

BYTES_MAX: Final = 8192
HIDDEN: Final = "***"

_HOST: Final = re.compile(r"[\w](?:[\w.-]{0,252})|\[[0-9A-Fa-f:.]{2,45}\]")
_CONTROL: Final = re.compile(r"[\x00-\x1f\x7f]")
_HALF_ESCAPE: Final = re.compile(r"%(?![0-9A-Fa-f]{2})")
_LOGIN: Final = re.compile(r"(://)[^\n]*[@?][^\n]*")
#: A private key that stands where the path of its file is expected: in PEM, or the text within, as Ed25519's begins (PKCS#8).
_KEY: Final = re.compile(
    r"-----BEGIN [A-Z0-9 ]*PRIVATE KEY-----(?:.*?-----END [A-Z0-9 ]*PRIVATE KEY-----|.*)|MC4CAQAwBQYDK2Vw[A-Za-z0-9+/_-]*=*",
    re.S,
)

#: Settings of a login and of TLS that every address has; values are other names for them.
LOGIN_AND_TLS: Final[Mapping[str, str]] = {
    "user": "user",
    "username": "user",
    "password": "password",
    "ca": "ca",
    "ssl_ca_certs": "ca",
    "cert": "cert",
    "ssl_certfile": "cert",
    "key": "key",
    "ssl_keyfile": "key",
    "check_hostname": "check_hostname",
    "ssl_check_hostname": "check_hostname",
}
#: The same as the environment has them, behind `FAILSHUT_STORE_` or `FAILSHUT_BROKER_`.
FROM_ENVIRONMENT: Final = ("user", "password", "ca", "cert", "key", "check_hostname")


class AddressError(ValueError):
    """An address cannot be meant. The text says what is wrong and quotes nothing of it."""


@dataclass(frozen=True, slots=True)
class Grammar:
    """What one kind of address may say."""

    what: str
    """Such as `store address`."""
    example: str
    schemes: frozenset[str]
    settings: Mapping[str, str]
    """Every name that a setting goes by, and the one that it is meant as."""
    many: frozenset[str] = frozenset()
    """Schemes with which more than one host may stand there."""

    def wrong(self, why: str) -> AddressError:
        """Return the error; `why` is ours and quotes nothing."""
        return AddressError(f"not a {self.what}: {why}. Write it as {self.example}")


@dataclass(frozen=True, slots=True)
class Address:
    """An address, taken apart and decoded. The login and the settings are not in its `repr`."""

    scheme: str
    hosts: tuple[tuple[str, int], ...]
    """Port 0: none was given."""
    path: str
    settings: Mapping[str, str] = field(repr=False)
    """By the names that they are meant as; the login is among them."""


def read(text: str, grammar: Grammar) -> Address:
    """Take an address apart. Raises AddressError."""
    text = text.strip()
    _check_characters(text, grammar)
    scheme, found, rest = text.partition("://")
    if not found or scheme not in grammar.schemes:
        raise grammar.wrong(f"it begins with none of {', '.join(sorted(grammar.schemes))}, followed by ://")
    rest = re.sub(rf"[;,]\s*{re.escape(scheme)}://", ",", rest)  # Faust's way to write a list
    authority = re.split(r"[/?]", rest, maxsplit=1)[0]
    path, _, query = rest[len(authority) :].partition("?")
    if "@" in path or "@" in query:
        raise grammar.wrong("an @ stands behind the hosts: in user and password write / ? and @ as %2F %3F and %40")
    if authority.count("@") > 1:
        raise grammar.wrong("it has more than one @: one login for all hosts, and %40 for an @ within it")
    login, at, hosts = authority.rpartition("@")
    settings = _settings(query, grammar)
    if at:
        settings = _with_login(login, settings, grammar)
    if re.search(r"\s", login + path + query):
        raise grammar.wrong("it has a blank: write it as %20")
    _check_settings(settings, grammar)
    return Address(scheme, _hosts(hosts, scheme, grammar), _decoded(path, "the path", grammar), settings)


def with_settings(text: str, settings: Mapping[str, str]) -> str:
    """Return an address with these settings added; they are checked when it is read.

    >>> with_settings("rediss://h:1/0", {"ca": "/etc/ca.pem"})
    'rediss://h:1/0?ca=%2Fetc%2Fca.pem'
    """
    text = text.strip()
    added = "&".join(f"{name}={quote(value, safe='', errors='surrogateescape')}" for name, value in settings.items() if value)
    if not text or not added:
        return text
    return f"{text}{'&' if '?' in text else '?'}{added}"


def settings_from(environment: Mapping[str, str], prefix: str, more: Iterable[str] = ()) -> dict[str, str]:
    """Return the settings that stand beside an address, as in `FAILSHUT_STORE_CA`; `_PASSWORD_FILE` names a file.

    Raises:
        AddressError: the file cannot be read, or there is a password beside it.
    """
    names = (*FROM_ENVIRONMENT, *more)
    settings = {name: value for name in names if (value := environment.get(f"{prefix}_{name.upper()}", ""))}
    variable = f"{prefix}_PASSWORD_FILE"
    if not (path := environment.get(variable, "")):
        return settings
    if "password" in settings:
        raise AddressError(f"{variable} and {prefix}_PASSWORD are both set: keep one")
    password, why = _first_line(path)
    if why:
        raise AddressError(f"the file that {variable} names {why}")
    return {**settings, "password": password}


def redact(text: str) -> str:
    """Return a text of somebody else's without what may hold a login: what follows `://` on a line with an `@` or a `?` in it.

    Without a private key, too: variables that name a key's file are given the key itself.

    >>> redact("no redis://u:p@ss@h:1?password=x here")
    'no redis://***'
    >>> redact("no file MC4CAQAwBQYDK2VwBCIEIDfNo7D=")
    'no file ***'
    """
    return _LOGIN.sub(rf"\1{HIDDEN}", _KEY.sub(HIDDEN, text))


def holds_key(text: str) -> bool:
    """Return whether a text holds a private key, or the beginning of one."""
    return _KEY.search(text) is not None


def hide(text: str, values: Iterable[str]) -> str:
    """Return a text without the values that may be an address, as they are or as Python quotes them.

    >>> hide("what is 'mon:pw@h'?", ["mon:pw@h", "is"])
    "what is '***'?"
    """
    for value in values:
        if "@" in value or ":" in value:
            escaped = _CONTROL.sub(lambda found: f"\\x{ord(found[0]):02x}", value)  # as Click quotes
            for form in (value, value.strip(), repr(value)[1:-1], escaped):
                text = text.replace(form, HIDDEN)
    return redact(text)


# --- within ---


def _check_characters(text: str, grammar: Grammar) -> None:
    if len(text) > BYTES_MAX:
        raise grammar.wrong(f"it is longer than {BYTES_MAX} characters")
    if not _encodable(text):
        raise grammar.wrong("it is not UTF-8")
    if _CONTROL.search(text):
        raise grammar.wrong("it has a control character")
    if "#" in text:
        raise grammar.wrong("it has a #: write it as %23")
    if "\\" in text:
        raise grammar.wrong("it has a backslash: write it as %5C")
    if _HALF_ESCAPE.search(text):
        raise grammar.wrong("a % is not followed by two hexadecimal digits: write the % itself as %25")


def _settings(query: str, grammar: Grammar) -> dict[str, str]:
    settings: dict[str, str] = {}
    for number, part in enumerate(filter(None, query.split("&")), 1):
        name, equals, value = part.partition("=")
        meant = grammar.settings.get(name)
        if meant is None:
            raise grammar.wrong(f"setting {number} behind the ? is unknown; known are {', '.join(_meant(grammar))}")
        if not equals or not value:
            raise grammar.wrong(f"the setting {name} is empty")
        if meant in settings:
            raise grammar.wrong(f"{meant} is set twice")
        settings[meant] = _decoded(value, f"the setting {name}", grammar)
    return settings


def _with_login(login: str, settings: dict[str, str], grammar: Grammar) -> dict[str, str]:
    user, _, password = login.partition(":")
    found = {"user": _decoded(user, "the user", grammar), "password": _decoded(password, "the password", grammar)}
    for name, value in found.items():
        if value and name in settings:
            raise grammar.wrong(f"the {name} is set twice: before the @ and as a setting")
    return {**{name: value for name, value in found.items() if value}, **settings}


def _check_settings(settings: Mapping[str, str], grammar: Grammar) -> None:
    if ("cert" in settings) != ("key" in settings):
        raise grammar.wrong("a client certificate needs both cert and key")
    if "key_password" in settings and "key" not in settings:
        raise grammar.wrong("key_password is set without key")
    if settings.get("check_hostname", "yes") not in _YES | _NO:
        raise grammar.wrong("check_hostname is neither yes nor no")


_YES: Final = frozenset({"yes", "true", "1", "on"})
_NO: Final = frozenset({"no", "false", "0", "off"})


def checks_hostname(settings: Mapping[str, str]) -> bool:
    """Return whether a server's certificate must be for the name that it is reached by; only an explicit no says otherwise."""
    return settings.get("check_hostname", "yes") not in _NO


def _hosts(text: str, scheme: str, grammar: Grammar) -> tuple[tuple[str, int], ...]:
    parts = [part.strip() for part in re.split(r"[,;]", text) if part.strip()]
    if len(parts) > 1 and scheme not in grammar.many:
        raise grammar.wrong("it names more than one host")
    hosts = []
    for part in parts:
        if part.startswith("["):
            host, bracket, port = part.rpartition("]")
            host, colon, port = host + bracket, port[:1], port[1:]
        else:
            host, colon, port = part.partition(":")
        if not _HOST.fullmatch(host) or colon not in ("", ":"):
            raise grammar.wrong("a host is neither a name nor an address")
        if colon and not (re.fullmatch(r"[0-9]{1,5}", port) and 0 < int(port) < 65_536):
            raise grammar.wrong("a port is not a number from 1 to 65535")
        hosts.append((host.strip("[]"), int(port) if colon else 0))
    return tuple(hosts)


def _decoded(text: str, what: str, grammar: Grammar) -> str:
    raw = unquote_to_bytes(text)
    decoded = raw.decode("utf-8", "replace")
    if decoded.encode() != raw:
        raise grammar.wrong(f"{what} is not UTF-8")
    if _CONTROL.search(decoded):
        raise grammar.wrong(f"{what} has a control character")
    return decoded


def _encodable(text: str) -> bool:
    try:
        text.encode()
    except UnicodeEncodeError:
        return False
    return True


def _meant(grammar: Grammar) -> list[str]:
    return sorted(set(grammar.settings.values()))


def _first_line(path: str) -> tuple[str, str]:
    """Return the file's text without its line end, or why it is of no use."""
    try:
        with open(path, encoding="utf-8") as file:
            text = file.read(BYTES_MAX)
    except OSError as error:
        return "", f"cannot be read: {error.strerror}"
    except ValueError:
        return "", "is not a path, or is not UTF-8"
    text = text.rstrip("\r\n")
    return (text, "") if text else ("", "is empty")
