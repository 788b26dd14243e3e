"""`failshut access`: keys for the HTTP gateway, made, listed and revoked."""

from __future__ import annotations

import json
import time
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from failshut_console.commands.options import FOLDER, AsJson, Folder
from failshut_console.exits import Exit, Trouble

if TYPE_CHECKING:
    from failshut_gateway.access.grant import Grant

group = typer.Typer(
    no_args_is_help=True,
    help="Access keys: who may ask the HTTP gateway, for which subjects and gates, and until when.",
)

File = Annotated[
    Path | None,
    typer.Option("--file", envvar="FAILSHUT_ACCESS", help="The file of access keys. Default: access.json in the state folder."),
]
UNCHANGED = "no key was made and none was revoked"


@group.command("create")
def create(
    role: Annotated[
        str, typer.Option(help="viewer (reads), operator (reads; commands in the console) or service (asks before it acts).")
    ],
    expires: Annotated[str, typer.Option(help="When it ends: after a duration (90d) or at a time (2027-01-31T12:00:00Z).")],
    subjects: Annotated[
        list[str] | None, typer.Option(help="Whom its owner may ask for, for example 'agent:refund-*'. Repeat for more.")
    ] = None,
    gates: Annotated[
        list[str] | None, typer.Option(help="Which gates it is for, for example 'payments.*'. Repeat it for more patterns.")
    ] = None,
    note: Annotated[str, typer.Option(help="Whose key it is. The console shows this name, and the log stores it.")] = "",
    once: Annotated[
        bool, typer.Option("--once", help="For one sign-in to the console of each gateway that runs now, and for nothing else.")
    ] = False,
    file: File = None,
    state: Folder = FOLDER,
) -> None:
    """Make an access key, and print it. It is shown this once: the file holds its SHA-256 alone.

    Standard output has the key and nothing else. A gateway that runs knows it within a second. A key with --once is given
    in the form of the console, or in a link: http://GATEWAY/console/once/KEY.

    Exit status: 0 made, 2 it cannot be granted, or the file cannot be read or written.
    """
    from failshut_console.terminal.times import utc
    from failshut_gateway.access import access_file
    from failshut_gateway.access.grant import BadGrant

    path, now_ms = _path(file, state), int(time.time() * 1000)
    try:
        grant, key = access_file.create(
            path,
            now_ms,
            role=role,
            subjects=subjects or [],
            gates=gates or [],
            expires_ms=_end_ms(expires, now_ms),
            note=note,
            once=once,
        )
    except BadGrant as error:
        raise Trouble(str(error), UNCHANGED, "failshut access create --help") from error
    except (OSError, ValueError) as error:
        raise _unusable(path, error) from error
    typer.echo(f"{grant.id}: {grant.role} until {utc(grant.expires_ms)}. Keep the key: it is not shown again.", err=True)
    typer.echo(key)


@group.command("list")
def list_(file: File = None, state: Folder = FOLDER, as_json: AsJson = False) -> None:
    """Show every access key: its id, role, subjects, gates, end and last use. The file holds no key itself.

    The gateways that read this file write the last uses, a few seconds late.

    Exit status: 0 shown, 2 the file cannot be read, and then nobody has access.
    """
    from failshut_gateway.access import access_file
    from failshut_gateway.access.last_uses import read_uses, uses_path

    path, now_ms = _path(file, state), int(time.time() * 1000)
    try:
        grants = access_file.read(path)
    except FileNotFoundError:
        grants = ()
    except (OSError, ValueError) as error:
        raise _unusable(path, error) from error
    uses = read_uses(uses_path(path))
    if as_json:
        shown = [{**grant.to_dict(), "state": _state(grant, now_ms), "used_ms": uses.get(grant.id, 0)} for grant in grants]
        typer.echo(json.dumps(shown))
    elif not grants:
        typer.echo(f"no access keys in {path}: nobody may ask the gateway")
    for grant in () if as_json else grants:
        typer.echo(_line(grant, now_ms, uses.get(grant.id, 0)))


@group.command("revoke")
def revoke(
    key_id: Annotated[str, typer.Argument(metavar="ID", help="The key's id, as `failshut access list` shows it.")],
    file: File = None,
    state: Folder = FOLDER,
) -> None:
    """Revoke an access key. Each gateway on this file refuses it within a second, and for good.

    Exit status: 0 revoked, 1 there is no such key, 2 the file cannot be read or written.
    """
    from failshut_console.terminal.times import utc
    from failshut_gateway.access import access_file
    from failshut_gateway.access.key_text import is_key

    path = _path(file, state)
    key_id = key_id[4:12] if is_key(key_id.encode("utf-8", "replace")) else key_id  # who has the key itself may revoke it
    try:
        grant = access_file.revoke(path, int(time.time() * 1000), key_id)
    except LookupError as error:
        raise Trouble("no access key has this id", UNCHANGED, "failshut access list", Exit.REFUSED) from error
    except (OSError, ValueError) as error:
        raise _unusable(path, error) from error
    typer.echo(f"{grant.id}: revoked {utc(grant.revoked_ms)}")


def _path(file: Path | None, state: Path) -> Path:
    return file or state / "access.json"


def _end_ms(text: str, now_ms: int) -> int:
    """Return the time that somebody wrote, or that lies so far ahead. Raises Trouble."""
    from failshut_console.terminal.times import read_end_ms

    try:
        return read_end_ms(text, now_ms)
    except ValueError as error:
        raise Trouble(f"--expires: {error}", UNCHANGED, "write 90d, or 2027-01-31T12:00:00Z") from error


def _state(grant: Grant, now_ms: int) -> str:
    if grant.revoked_ms:
        return "revoked"
    return "valid" if grant.lives(now_ms) else "expired"


def _line(grant: Grant, now_ms: int, used_ms: int) -> str:
    from failshut_console.terminal.times import utc

    used = f"used {utc(used_ms)}" if used_ms else "never used"
    whom = f"{', '.join(grant.subjects) or 'nobody'} at {', '.join(grant.gates)}"
    ends = f"revoked {utc(grant.revoked_ms)}" if grant.revoked_ms else f"until {utc(grant.expires_ms)}"
    more = ("  for one sign-in" if grant.once else "") + (grant.note and f"  {grant.note}")
    return f"{grant.id}  {_state(grant, now_ms):<8} {grant.role:<8} {whom}  {ends}  {used}{more}"


def _unusable(path: Path, error: Exception) -> Trouble:
    return Trouble(
        f"{path} cannot be used: {error}",
        f"{UNCHANGED}; while gateways cannot read it, nobody has access",
        "restore the file from a backup, or name another one: --file",
    )
