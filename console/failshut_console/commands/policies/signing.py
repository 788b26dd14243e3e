"""`failshut policy sign | list | show`: what policy keys signed, and what control holds."""

from __future__ import annotations

import asyncio
import json
import time
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from failshut_console.commands.options import FOLDER, AsJson, Broker, Folder, Jwks, OperatorKey, Prefix, where
from failshut_console.commands.policies.bundles import read_bundle, refuse_bad
from failshut_console.connection_options import reaching
from failshut_console.exits import Exit, Trouble

if TYPE_CHECKING:
    from failshut.signing import SigningKey
    from failshut_console.monitor.policies_in_force import InForce

UNSIGNED = "nothing was signed"


def sign(
    source: Annotated[
        Path, typer.Argument(metavar="DIR|BUNDLE", help="A folder of policies, or a signed bundle that you sign as well.")
    ],
    out: Annotated[Path, typer.Option("-o", "--out", help="The file to write.")],
    key: Annotated[
        str, typer.Option("--key", envvar="FAILSHUT_POLICY_KEY", help="Your private policy key (PEM): failshut keys policy.")
    ],
    installation: Annotated[
        list[str], typer.Option(help="Where it may come into force: an installation's id. May be given several times.")
    ],
    expires: Annotated[
        str, typer.Option(help="Until when an operator may put it in force: after a duration (7d) or at a time.")
    ] = "7d",
    version: Annotated[
        int,
        typer.Option(min=0, help="Version of a folder; it must be above the one in force. 0: the time, in milliseconds."),
    ] = 0,
    force: Annotated[bool, typer.Option("--even-bad", help="Sign even if a policy is bad.")] = False,
) -> None:
    """Sign policies with a policy key, for an operator to put in force. No server is asked.

    Where an authority is named (`failshut authority add`), a bundle counts only with its signatures. A second person signs the
    file that the first one wrote. Look at what you sign: `failshut policy check`, `failshut policy diff`.

    Exit status: 0 written, 1 a policy is bad, 2 a file cannot be read or written, or is no bundle.
    """
    from failshut.store.names import check_installation
    from failshut_breakers.policy.authority import sign_bundle
    from failshut_console.local.bundle_file import BadBundle, bundle_of
    from failshut_console.local.state import who
    from failshut_console.terminal.times import read_end_ms, utc

    now_ms = time.time_ns() // 1_000_000
    bundle = read_bundle(source, UNSIGNED)
    if source.is_file() and version not in (0, bundle.version):
        raise Trouble(f"{source} has version {bundle.version} already", UNSIGNED, "leave --version out")
    refuse_bad(source, bundle, UNSIGNED, force)
    signing_key = _policy_key(key)
    try:
        ends_ms = read_end_ms(expires, now_ms)
        where_ = [check_installation(one) for one in installation]
    except ValueError as error:
        raise Trouble(str(error), UNSIGNED, "write --expires 7d, and --installation with the id of one") from error
    of = bundle.version if source.is_file() else version or now_ms
    signature = sign_bundle(signing_key, bundle.files, of, where_, by=who(), signed_ms=now_ms, expires_ms=ends_ms)
    try:
        signed = bundle_of(of, bundle.files, [*bundle.signatures, signature])
        signed.write(out)
    except (OSError, BadBundle) as error:
        raise Trouble(f"{out} cannot be written: {error}", UNSIGNED, "name another file, or sign a fresh bundle") from error
    typer.echo(
        f"{out}: version {of} with {len(bundle.files)} files, {len(signed.signatures)} signatures; "
        f"{signing_key.kid[:12]} signed it for {', '.join(where_)} until {utc(ends_ms)}"
    )


def _policy_key(path: str) -> SigningKey:
    from failshut.signing import SigningKey

    try:
        return SigningKey.load(path)
    except (OSError, ValueError) as error:
        raise Trouble(
            f"the policy key {path} cannot be used: {error}", UNSIGNED, "make one: failshut keys policy FILE"
        ) from error


@reaching
def list_(
    broker: Broker = "",
    prefix: Prefix = "",
    jwks: Jwks = "",
    key: OperatorKey = "",
    state: Folder = FOLDER,
    as_json: AsJson = False,
) -> None:
    """Show every activation that control holds: version, when, whose, and whether it is in force, was replaced or refused.

    Exit status: 0 shown, 2 wrong usage, 3 no answer.
    """
    from failshut_console.terminal.times import utc

    found = _look(broker, prefix, jwks, key, state)
    if as_json:
        typer.echo(json.dumps([one._asdict() for one in found.activations], indent=1))
        return
    if found.authority is not None:
        typer.echo(f"policies need {found.authority.needed} of {len(found.authority.keys)} policy keys")
    for one in found.activations:
        typer.echo(f"{one.version}  {utc(one.time_ms)}  {one.files} files  by {one.signer[:12] or 'nobody known'}  {one.what}")


@reaching
def show(
    gate: Annotated[str, typer.Argument(metavar="[GATE]", help="The gate whose policy is shown; without it, all files.")] = "",
    broker: Broker = "",
    prefix: Prefix = "",
    jwks: Jwks = "",
    key: OperatorKey = "",
    state: Folder = FOLDER,
    as_json: AsJson = False,
) -> None:
    """Print the policies in force, as they were written. With GATE the one file that speaks of it.

    Exit status: 0 shown, 1 no policy of this gate is in force, 2 wrong usage, 3 no answer.
    """
    found = _look(broker, prefix, jwks, key, state)
    entry = found.entries.get(gate)
    if gate and (entry is None or entry.policy is None):
        because = entry.fault if entry is not None else "control names no such gate"
        raise Trouble(f"no policy of {gate} is in force: {because}", "the gate is closed", "failshut policy list", Exit.REFUSED)
    files = {file: text for file, text in found.files.items() if not gate or (entry is not None and file == entry.file)}
    if as_json:
        typer.echo(json.dumps({"version": found.version, "files": files}, indent=1))
        return
    for number, (file, text) in enumerate(sorted(files.items())):
        typer.echo(f"{'' if number == 0 else chr(10)}# {file}, version {found.version}")
        typer.echo(text.rstrip("\n"))


def _look(broker: str, prefix: str, jwks: str, key: str, state: Path) -> InForce:
    from failshut_console.monitor.policies_in_force import in_force
    from failshut_console.monitor.send_command import load_operator_key

    at = where(state, broker=broker, key=key, prefix=prefix, jwks=jwks)
    if not at.broker:
        raise Trouble("no broker is known", "nothing was read", "start `failshut up`, or give --broker kafka://HOST:PORT")
    signed = load_operator_key(at.operator_key) if Path(at.operator_key).is_file() else None
    return asyncio.run(in_force(at.broker, at.prefix, signed, at.jwks))
