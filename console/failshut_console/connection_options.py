"""How commands reach Kafka and the store: options for what is not in an address, and one check before anything is done.

`reaching` gives a command with --broker or --store the options for TLS and login as well. It adds them, and the environment's
FAILSHUT_BROKER_* and FAILSHUT_STORE_*, to the address. It refuses settings that make no sense. The error names the option and
quotes nothing of the address, because any part of a malformed address may be a password. No option takes a password, because
everybody on a machine can read a command line.
"""

from __future__ import annotations

import functools
import inspect
import os
from collections.abc import Callable, Mapping
from typing import Annotated, Any, Final

import typer

from failshut_console.exits import Trouble

_PANEL: Final = "Connection (docs/connecting.md)"


def _option(kind: str, setting: str, text: str) -> Any:
    name = f"{kind}-{setting}".replace("_", "-")
    variable = f"FAILSHUT_{kind}_{setting}".upper()
    return Annotated[str, typer.Option(f"--{name}", envvar=variable, help=text, rich_help_panel=_PANEL)]


def _store_options(kind: str, what: str) -> Mapping[str, Any]:
    password = f"FAILSHUT_{kind.upper()}_PASSWORD"
    return {
        "user": _option(kind, "user", f"Login; its password: {password} or {password}_FILE."),
        "ca": _option(kind, "ca", f"Authority of {what}'s certificate (PEM), for rediss://."),
        "cert": _option(kind, "cert", "Client certificate (PEM)."),
        "key": _option(kind, "key", "Its private key (PEM)."),
    }


#: Option's parameter -> its type, for each kind of address.
_OPTIONS: Final[Mapping[str, Mapping[str, Any]]] = {
    "broker": {
        "mechanism": _option("broker", "mechanism", "PLAIN, SCRAM-SHA-256 or SCRAM-SHA-512. Default with a login: PLAIN."),
        "user": _option("broker", "user", "Login; its password: FAILSHUT_BROKER_PASSWORD or FAILSHUT_BROKER_PASSWORD_FILE."),
        "ca": _option("broker", "ca", "Authority of the brokers' certificates (PEM), for kafkas://."),
        "cert": _option("broker", "cert", "Client certificate (PEM)."),
        "key": _option("broker", "key", "Its private key (PEM)."),
    },
    "store": _store_options("store", "the store"),
    "outcomes_store": _store_options("outcomes_store", "the store of outcomes"),
}
_MORE: Final[Mapping[str, tuple[str, ...]]] = {
    "broker": ("mechanism", "key_password"),
    "store": ("sentinel_user", "sentinel_password"),
    "outcomes_store": ("sentinel_user", "sentinel_password"),
}


def reaching(command: Callable[..., Any]) -> Callable[..., Any]:
    """Return the command with the options of how its servers are reached, and its addresses checked."""
    signature = inspect.signature(command, eval_str=True)
    kinds = [kind for kind in _OPTIONS if kind in signature.parameters]
    added = {f"{kind}_{setting}": (kind, setting) for kind in kinds for setting in _OPTIONS[kind]}

    @functools.wraps(command)
    def reached(**given: Any) -> Any:
        options = {name: given.pop(name, "") for name in added}
        for kind in kinds:
            mine = {setting: options[name] for name, (of, setting) in added.items() if of == kind}
            given[kind] = _address(kind, given[kind], mine)
        if given.get("to_kafka"):
            _checked("--to-kafka", given["to_kafka"], "broker")
        return command(**given)

    parameters = [
        inspect.Parameter(name, inspect.Parameter.KEYWORD_ONLY, default="", annotation=_OPTIONS[kind][setting])
        for name, (kind, setting) in added.items()
    ]
    whole = [parameter.replace(kind=inspect.Parameter.KEYWORD_ONLY) for parameter in signature.parameters.values()] + parameters
    reached.__signature__ = signature.replace(parameters=whole)  # type: ignore[attr-defined]
    reached.__annotations__ = {parameter.name: parameter.annotation for parameter in whole}
    return reached


def _address(kind: str, given: str, options: Mapping[str, str]) -> str:
    """Return the whole address of an option, from all places that say something of it; empty where none was given."""
    if not given.strip():
        return ""
    from failshut.network.address import settings_from, with_settings

    try:
        beside = settings_from(os.environ, f"FAILSHUT_{kind.upper()}", _MORE[kind])
    except ValueError as error:
        raise Trouble(str(error), "nothing was done", "docs/connecting.md lists the settings") from error
    said = {name: value for name, value in options.items() if value}
    return _checked(f"--{kind.replace('_', '-')}", with_settings(given, {**beside, **said}), kind)


def _checked(option: str, address: str, kind: str) -> str:
    try:
        if kind == "broker":
            from failshut_streams.kafka.address import Broker

            Broker.parse(address).tls_context()
        else:
            from failshut.store.address import StoreAddress

            StoreAddress.parse(address).check_files()
    except ValueError as error:
        raise Trouble(f"{option}: {error}", "nothing was done", "docs/connecting.md says how it is written") from error
    return address
