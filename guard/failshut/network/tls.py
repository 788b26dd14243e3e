"""TLS as an address asks for it: whose authority is believed, and which certificate is shown. A fault names its setting.

If a file is missing, unreadable or of another kind, Python's own errors name neither the file nor the setting. OpenSSL asks the
terminal for a key's password if none was given. Here each file is tried by itself, and nobody is asked. A certificate is always
checked. `check_hostname=no` leaves out the name in it, for servers that are reached by number.
"""

from __future__ import annotations

import ssl
from collections.abc import Mapping

from failshut.network.address import Grammar, checks_hostname


def tls_context(settings: Mapping[str, str], grammar: Grammar) -> ssl.SSLContext:
    """Return a client's context; with `ca`, its authorities alone are believed.

    Raises:
        AddressError: a file cannot be read, or is not what its setting says.
    """
    for name in ("ca", "cert", "key"):
        if (path := settings.get(name, "")) and (why := _unreadable(path)):
            raise grammar.wrong(f"the file of its setting {name} {why}")
    context, why = _context(settings)
    if context is None:
        raise grammar.wrong(why)
    return context


def _context(settings: Mapping[str, str]) -> tuple[ssl.SSLContext | None, str]:
    """Return the context, or why there is none: an error raised in an `except` would carry OpenSSL's along."""
    try:
        context = ssl.create_default_context(cafile=settings.get("ca") or None)
    except (ssl.SSLError, OSError, ValueError):
        return None, "the file of its setting ca holds no certificate (PEM)"
    context.check_hostname = checks_hostname(settings)
    if "cert" in settings:
        try:
            context.load_cert_chain(settings["cert"], settings["key"], lambda: settings.get("key_password", ""))
        except (ssl.SSLError, OSError, ValueError):
            return None, (
                "its settings cert and key do not go together: cert is a certificate (PEM), key its private key (PEM), "
                "and key_password the key's password, if it has one"
            )
    return context, ""


def _unreadable(path: str) -> str:
    """Return why a file cannot be read, or an empty text."""
    try:
        with open(path, "rb") as file:
            return "" if file.read(1) else "is empty"
    except OSError as error:
        return f"cannot be read: {error.strerror}"
    except ValueError:
        return "is not a path"
