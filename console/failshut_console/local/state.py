"""The state folder of this machine: keys, and where the servers of a running `failshut up` listen.

Commands find a running monitor through `runtime.json` in `.failshut/`, so that `failshut gates` in a second terminal needs no
options. Options and environment variables say otherwise where they are given. Keys are made on first use and kept.
"""

from __future__ import annotations

import getpass
import json
import os
import socket
from dataclasses import asdict, dataclass, field
from pathlib import Path

from failshut.signing import KeySet, SigningKey
from failshut.store.names import check_installation
from failshut.whole_file import write_whole
from failshut_console.exits import Trouble


@dataclass(frozen=True, slots=True)
class Runtime:
    """What a running monitor of this machine tells other commands. Empty texts: not known."""

    broker: str = field(default="", repr=False)
    store: str = field(default="", repr=False)
    prefix: str = ""
    jwks: str = ""
    operator_key: str = ""
    pid: int = 0
    servers: str = ""
    installation: str = ""
    """Whose permits are judged and whose commands are signed; empty: what the key set names, else what control does."""


class State:
    """The folder and the files in it. Files are made when they are first asked for."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder.absolute()

    @property
    def signing_key(self) -> Path:
        """The monitor's private key (PEM), which signs permits."""
        return self.folder / "keys" / "monitor.pem"

    @property
    def jwks(self) -> Path:
        """The monitor's public keys, for guards."""
        return self.folder / "keys" / "monitor.jwks.json"

    @property
    def operator_key(self) -> Path:
        """This machine's operator's private key, which signs commands."""
        return self.folder / "keys" / "operator.pem"

    @property
    def operators(self) -> Path:
        """Public keys of those who may command."""
        return self.folder / "keys" / "operators.jwks.json"

    @property
    def runtime_file(self) -> Path:
        """Where the servers of a running `failshut up` listen."""
        return self.folder / "runtime.json"

    def ensure_keys(self) -> list[Path]:
        """Make the keys that are missing; return the files that were written.

        Raises:
            Trouble: a key that is there cannot be read.
        """
        written: list[Path] = []
        for private, public in ((self.signing_key, self.jwks), (self.operator_key, self.operators)):
            try:
                if private.exists():
                    key = SigningKey.load(private)
                else:
                    key = SigningKey.generate()
                    key.save(private)
                    written.append(private)
                if public == self.operators and (not public.exists() or key.kid not in KeySet.load(public)):
                    from failshut_console.local.operator_book import OperatorBook  # it brings all that reads control

                    OperatorBook.read(public).added(key.key_set(), who()).write(public)  # the names of others stay
                    written.append(public)
                elif not public.exists() or key.kid not in KeySet.load(public):
                    held = KeySet.load(public).joined(key.key_set()) if public.exists() else key.key_set()
                    held.write(public)
                    written.append(public)
            except (OSError, ValueError) as error:
                raise Trouble(
                    f"a key in {private.parent} cannot be used: {error}",
                    "nothing is signed with it, and no gate opens",
                    f"repair it, or move {private} and {public} away: new ones are then made, and guards need the new JWKS",
                ) from error
        return written

    def name_installation(self, installation: str) -> bool:
        """Have the JWKS file for guards name the installation; False where it is not there or names another one.

        Raises:
            Trouble: it cannot be read.
        """
        try:
            held = KeySet.load(self.jwks) if self.jwks.exists() else None
        except (OSError, ValueError) as error:
            raise Trouble(f"{self.jwks} cannot be used: {error}", "guards that read it deny", "repair it") from error
        if held is None or held.installation not in ("", installation):
            return False
        held.of(installation).write(self.jwks)
        return True

    def rename_installation(self, installation: str) -> None:
        """Do as `name_installation`, whatever the file named before: for a monitor that alone writes it."""
        KeySet.load(self.jwks).of(installation).write(self.jwks)

    def write_runtime(self, runtime: Runtime) -> None:
        """Tell other commands where the servers are."""
        self.folder.mkdir(parents=True, exist_ok=True)
        write_whole(self.runtime_file, (json.dumps(asdict(runtime), indent=1) + "\n").encode())

    def forget_runtime(self) -> None:
        """Take note that the servers are gone."""
        self.runtime_file.unlink(missing_ok=True)

    def runtime(self) -> Runtime:
        """Return what a running monitor said; all empty where none runs here, or what it said cannot be read."""
        try:
            said = json.loads(self.runtime_file.read_text(encoding="utf-8"))
            runtime = Runtime(**said)
        except (OSError, ValueError, TypeError):
            return Runtime()
        return runtime if _alive(runtime.pid) else Runtime()


def found(
    folder: Path,
    *,
    store: str = "",
    broker: str = "",
    jwks: str = "",
    key: str = "",
    prefix: str = "",
    installation: str = "",
) -> Runtime:
    """Return where to ask: what was given, else what a running `failshut up` of this folder says, else nothing."""
    state = State(folder)
    here = state.runtime()
    own_servers = not store and not broker  # somebody else's servers go with somebody else's keys
    keys = jwks or (here.jwks if own_servers else "") or (str(state.jwks) if state.jwks.exists() else "")
    return Runtime(
        broker=broker or here.broker,
        store=store or here.store,
        prefix=prefix or here.prefix,
        jwks=keys,
        operator_key=key or (here.operator_key if own_servers else "") or str(state.operator_key),
        pid=here.pid,
        servers=here.servers if own_servers else "",
        installation=_checked(installation) or _named_in(keys),
    )


def _checked(installation: str) -> str:
    try:
        return check_installation(installation) if installation else ""
    except ValueError as error:
        raise Trouble(f"--installation: {error}", "nothing was asked", "failshut term open prints it") from error


def _named_in(jwks: str) -> str:
    """Return the installation that a JWKS file names; empty where it cannot be read, which whoever needs its keys says."""
    try:
        return KeySet.load(jwks).installation if jwks else ""
    except (OSError, ValueError):
        return ""


def who() -> str:
    """Return who asks, as it stands on the log: user and host."""
    try:
        user = getpass.getuser()
    except (OSError, KeyError):
        user = f"uid-{os.getuid()}"
    return f"{user}@{socket.gethostname()}"


def _alive(pid: int) -> bool:
    if pid <= 0:
        return False
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    except PermissionError:
        return True
    return True
