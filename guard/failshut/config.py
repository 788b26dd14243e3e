"""How a guard finds its store and its keys, where it runs, and how long it waits.

Everything may come from the environment, so that a service needs no code for it:

- `FAILSHUT_STORE`: the store's address, `redis://host:6379/0` (also TLS, Sentinels, a socket file: docs/connecting.md)
- `FAILSHUT_STORE_PASSWORD`, `_PASSWORD_FILE`, `_USER`, `_CA`, `_CERT`, `_KEY`: what is better not in it
- `FAILSHUT_OUTCOMES_STORE`: that of the store that takes outcomes, where it is another one; with the same settings beside it
- `FAILSHUT_JWKS`: path of the JWKS file with the monitor's public keys, which also names its installation
- `FAILSHUT_INSTALLATION`: the installation's id, where that file does not name it, or another
- `FAILSHUT_CONTEXT`: where this service runs, `environment=production,region=eu`
- `FAILSHUT_DEADLINE_MS`: how long a caller ever waits; default 50

A configuration that is missing does not raise at import and opens nothing: every check withholds and says
what to set.
"""

from __future__ import annotations

import os
import re
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any, Final

from failshut.store import address as store_address
from failshut.store.names import check_installation

DEADLINE_MS: Final = 50
CLOCK_TOLERANCE_MS: Final = 500
STORE_TIMEOUT_MS: Final = 500
_STORES: Final = {"store_url": store_address.ENVIRONMENT, "outcomes_store_url": store_address.OUTCOMES_ENVIRONMENT}
OUTCOMES_MAX: Final = 10_000


@dataclass(frozen=True, slots=True)
class Clocks:
    """The two clocks of a lease, both in seconds; replaced in tests and simulations."""

    monotonic: Callable[[], float] = time.monotonic
    wall: Callable[[], float] = time.time


@dataclass(frozen=True, slots=True, kw_only=True)
class Configuration:
    """What a guard is told. Raises ValueError for what cannot be meant."""

    store_url: str = field(default="", repr=False)
    """Where the store is; empty: every check withholds. It may hold a password, so it is not shown."""
    outcomes_store_url: str = field(default="", repr=False)
    """Where outcomes are written; empty: to the same store as permits. Apart, they can take no memory from permits."""
    installation: str = ""
    """Whose permits open gates here, and whose names are read; empty: the installation that the JWKS document names."""
    jwks: str | os.PathLike[str] | Mapping[str, Any] = ""
    """Path of a JWKS file, which is read again when it changes, or the document itself."""
    context: Mapping[str, str] = field(default_factory=dict)
    deadline_ms: int = DEADLINE_MS
    """Longest wait of a caller, for anything that leaves the process."""
    clock_tolerance_ms: int = CLOCK_TOLERANCE_MS
    """How far this host's clock may be off: a lease ends that much before its permit does."""
    store_timeout_ms: int = STORE_TIMEOUT_MS
    """How long the background threads wait for one answer of the store."""
    outcomes_max: int = OUTCOMES_MAX
    """Outcomes of probes that wait for the store, and epochs whose counts do; more are lost, and counted."""
    instance: str = ""
    """This process's name in outcomes; by default host and process id."""
    clocks: Clocks = field(default_factory=Clocks)

    def __post_init__(self) -> None:
        for name, low, high in (
            ("deadline_ms", 1, 10_000),
            ("clock_tolerance_ms", 0, 3_600_000),
            ("store_timeout_ms", 10, 60_000),
            ("outcomes_max", 1, 1_000_000),
        ):
            value = getattr(self, name)
            if type(value) is not int or not low <= value <= high:
                raise ValueError(f"{name} is {value!r}, not a whole number between {low} and {high}")
        if self.installation:
            check_installation(self.installation)
        for key, value in self.context.items():
            if not isinstance(key, str) or not isinstance(value, str):
                raise ValueError("context maps texts to texts")


def from_environment(environment: Mapping[str, str] | None = None, **given: Any) -> Configuration:
    """Return the configuration that `FAILSHUT_*` variables describe; `given` arguments win. Raises ValueError."""
    variables = os.environ if environment is None else environment
    for name, variable in _STORES.items():
        given[name] = store_address.complete(given.get(name, variables.get(variable, "")), variables, variable)
    given.setdefault("installation", variables.get("FAILSHUT_INSTALLATION", ""))
    given.setdefault("jwks", variables.get("FAILSHUT_JWKS", ""))
    given.setdefault("context", parse_context(variables.get("FAILSHUT_CONTEXT", "")))
    if "deadline_ms" not in given and (text := variables.get("FAILSHUT_DEADLINE_MS", "")):
        if not re.fullmatch(r"\s*-?[0-9]{1,9}\s*", text):  # it is not quoted: who mixes up variables has an address there
            raise ValueError("FAILSHUT_DEADLINE_MS is not a whole number")
        given["deadline_ms"] = int(text)
    return Configuration(**given)


def parse_context(text: str) -> dict[str, str]:
    """Read `name=value,name=value`. Raises ValueError.

    >>> parse_context("environment=production, region=eu")
    {'environment': 'production', 'region': 'eu'}
    """
    context: dict[str, str] = {}
    for number, part in enumerate(text.split(","), 1):
        name, equals, value = part.strip().partition("=")
        if not name and not equals:
            continue
        if not name or not equals or "://" in part:  # an address in the wrong variable would be shown as a context
            raise ValueError(f"FAILSHUT_CONTEXT: part {number} is not name=value")
        context[name.strip()] = value.strip()
    return context
