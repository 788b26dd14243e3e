"""`failshut policy`: check policies without a monitor, and put them in force."""

from __future__ import annotations

import asyncio
import json
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from failshut_console.commands.options import FOLDER, AsJson, Broker, Folder, Installation, Jwks, OperatorKey, Prefix, where
from failshut_console.commands.policies import signing
from failshut_console.commands.policies.bundles import read_bundle, refuse_bad, tell_checked
from failshut_console.connection_options import reaching
from failshut_console.exits import Exit, Trouble

if TYPE_CHECKING:
    from failshut_console.edits import GateEdit
    from failshut_console.local.state import Runtime

NOTHING = "nothing was activated; what is in force stays"

group = typer.Typer(
    no_args_is_help=True,
    rich_markup_mode="markdown",
    help="Policies: which conditions a gate has, and what each does. One YAML file for one gate; a folder of them is a bundle.",
)


@group.command("check")
@reaching
def check(
    files: Annotated[list[Path], typer.Argument(metavar="FILE...", help="Policy files, or folders of them.")],
    strict: Annotated[bool, typer.Option("--strict", help="Treat warnings as faults.")] = False,
    live: Annotated[
        bool,
        typer.Option("--live", help="Compare with what producers send now: names that nobody sends, times below their pace."),
    ] = False,
    broker: Broker = "",
    prefix: Prefix = "",
    state: Folder = FOLDER,
    as_json: AsJson = False,
) -> None:
    """Check policies: what is wrong, on which line, and why. Without --live it asks no server.

    The code that checks is the code that decides later. A bad policy that is activated closes its gates; the policy
    before it is not kept alive in its place. A warning names what looks safe and is not, and what to write instead.

    Exit status: 0 all are good, 1 one is bad (or, with --strict, has a warning), 2 wrong usage (for example a missing file), 3
    no answer (with --live).
    """
    from failshut_console.checks import check_file, check_together

    observed = None
    if live:
        from failshut_console.monitor.observed_series import observe

        at = where(state, broker=broker, prefix=prefix)
        if not at.broker:
            raise Trouble(
                "no broker is known", "nothing was checked", "start `failshut up`, or give --broker kafka://HOST:PORT"
            )
        observed = asyncio.run(observe(at.broker, at.prefix))
    checked = check_together([check_file(path, observed) for path in _expand(files)])
    if as_json:
        typer.echo(json.dumps([item.as_json() for item in checked], indent=1))
    else:
        for item in checked:
            tell_checked(item)
    if not all(item.good and not (strict and item.warnings) for item in checked):
        raise typer.Exit(Exit.REFUSED)


def _expand(files: list[Path]) -> list[Path]:
    from failshut_console.checks import policy_files

    found: list[Path] = []
    for path in files:
        if not path.exists():
            raise Trouble(f"there is no {path}", "nothing was checked", "name a policy file or a folder of them")
        inside = policy_files(path) if path.is_dir() else [path]
        if not inside:
            raise Trouble(f"{path} holds no policy (*.yaml)", "nothing was checked", "name another folder")
        found += inside
    return found


@group.command("diff")
@reaching
def diff(
    folder: Annotated[
        Path, typer.Argument(metavar="DIR|BUNDLE", help="The bundle: every *.yaml in this folder, or a file that was signed.")
    ],
    broker: Broker = "",
    prefix: Prefix = "",
    jwks: Jwks = "",
    key: OperatorKey = "",
    state: Folder = FOLDER,
    as_json: AsJson = False,
) -> None:
    """Show what a folder of policies would change of those in force, and what it costs: who must learn, and for how long.

    Policies are compared by what they say: a comment, the order or another file changes nothing. Nothing is sent.

    Exit status: 0 shown, 2 wrong usage, 3 no answer.
    """
    from failshut_console.monitor.activation import edits_of
    from failshut_console.monitor.policies_in_force import in_force
    from failshut_console.monitor.send_command import load_operator_key

    files = read_bundle(folder, "nothing was compared").files
    at = _reached(where(state, broker=broker, key=key, prefix=prefix, jwks=jwks), "nothing was compared")
    signed = load_operator_key(at.operator_key) if Path(at.operator_key).is_file() else None  # to look at needs no key
    before = asyncio.run(in_force(at.broker, at.prefix, signed, at.jwks))
    found = asyncio.run(edits_of(before.entries, at.broker, at.prefix, files))
    if as_json:
        typer.echo(json.dumps([item.as_json() for item in found], indent=1))
        return
    for item in found:
        _tell_edit(item)


def _reached(at: Runtime, means: str) -> Runtime:
    if not at.broker:
        raise Trouble("no broker is known", means, "start `failshut up`, or give --broker kafka://HOST:PORT")
    return at


def _tell_edit(item: GateEdit) -> None:
    typer.echo(f"{item.gate}: {item.words}")
    for condition in item.conditions:
        typer.echo(f"    {condition.name}: {condition.words}")


def _agreed(found: list[GateEdit], yes: bool) -> None:
    """Say what an activation costs, and ask where it closes a gate that has a policy now, or lets it stop withholding.

    Raises:
        Trouble: it was not agreed to.
    """
    asked = [item for item in found if item.needs_consent]
    for item in found:
        if item.what != "unchanged":
            _tell_edit(item)
    if not asked or yes:
        return
    parts = [("close", [item.gate for item in asked if item.closes])]
    parts += [("let stop withholding", [item.gate for item in asked if item.loosened])]
    does = "; ".join(f"{verb} {_few(gates)}" for verb, gates in parts if gates)
    if not sys.stdin.isatty():
        raise Trouble(
            f"of the gates in force this would {does}",
            "nothing was activated; what is in force stays",
            "give --yes to activate it all the same, and look with `failshut policy diff`",
            Exit.REFUSED,
        )
    if not typer.confirm(f"This would {does}. Activate?"):
        raise Trouble("not agreed to", "nothing was activated; what is in force stays", "", Exit.REFUSED)


def _few(gates: list[str]) -> str:
    return ", ".join(gates[:5]) + (f" and {len(gates) - 5} more" if len(gates) > 5 else "")


@group.command("activate")
@reaching
def activate(
    folder: Annotated[
        Path, typer.Argument(metavar="DIR|BUNDLE", help="The bundle: every *.yaml in this folder, or a file that was signed.")
    ],
    broker: Broker = "",
    prefix: Prefix = "",
    installation: Installation = "",
    key: OperatorKey = "",
    state: Folder = FOLDER,
    force: Annotated[
        bool, typer.Option("--even-bad", help="Activate even if a policy is bad. Its gates close, and say why.")
    ] = False,
    why: Annotated[str, typer.Option("--why", help="The reason, for the log.")] = "policy activation",
    version: Annotated[
        int, typer.Option(min=0, help="Version of the bundle; must be above the one in force. 0: the time, in milliseconds.")
    ] = 0,
    jwks: Jwks = "",
    yes: Annotated[
        bool, typer.Option("--yes", help="Do not ask before a gate closes by it, or stops withholding. Scripts need it.")
    ] = False,
) -> None:
    """Put a bundle of policies in force, signed with your key. It replaces the whole bundle: a gate without a file closes.

    Where a policy authority is named, it must be a bundle that enough policy keys signed (`failshut policy sign`).

    An activation raises the epoch of each gate whose policy says something else than before. Unchanged conditions keep
    what they know. Changed ones may have to learn, so their gates close until they have. It says so first, and asks
    before a gate closes that has a policy now. A breaker that is tripped or locked stays so.

    Exit status: 0 on the log, 1 refused (a bad policy without --even-bad, a change that you did not agree to, a version that
    is not higher, missing signatures), 2 wrong usage, 3 no answer.
    """
    from failshut_console.local.state import who
    from failshut_console.monitor.activation import activate_now, edits_of, refused_by
    from failshut_console.monitor.policies_in_force import in_force
    from failshut_console.monitor.send_command import load_operator_key

    bundle = read_bundle(folder, NOTHING)
    refuse_bad(folder, bundle, NOTHING, force)
    if folder.is_file():
        if version not in (0, bundle.version):
            raise Trouble(f"{folder} was signed as version {bundle.version}", NOTHING, "leave --version out")
        version = bundle.version
    at = where(state, broker=broker, key=key, prefix=prefix, installation=installation, jwks=jwks)
    signed = load_operator_key(_reached(at, NOTHING).operator_key)
    before = asyncio.run(in_force(at.broker, at.prefix, signed, at.jwks))
    because = refused_by(before, bundle.files, bundle.signatures, version, at.installation)
    if because and not force:
        raise Trouble(
            f"{because}; on the log it would close the gates that it names",
            NOTHING,
            "have it signed: failshut policy sign, and activate the file that this writes",
            Exit.REFUSED,
        )
    _agreed(asyncio.run(edits_of(before.entries, at.broker, at.prefix, bundle.files)), yes)
    now, offset = activate_now(
        at.broker, at.prefix, signed, who(), bundle.files, why, version, at.installation, bundle.signatures
    )
    typer.echo(f"version {now} with {len(bundle.files)} files is on the log (control offset {offset}); see `failshut gates`")


group.command("sign")(signing.sign)
group.command("list")(signing.list_)
group.command("show")(signing.show)
