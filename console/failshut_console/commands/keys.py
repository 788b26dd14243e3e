"""`failshut keys`: the keys of an installation, created once."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from failshut_console.commands.options import FOLDER, Folder
from failshut_console.exits import Exit, Trouble

group = typer.Typer(
    no_args_is_help=True,
    help="Keys: the monitor's signs permits, an operator's signs commands, a policy key signs policies. All are Ed25519.",
)


@group.command("create")
def create(state: Folder = FOLDER) -> None:
    """Make the keys that are missing in the state folder, and say what each is for. Existing keys are kept.

    Only you can read the private keys (mode 0600). Give guards monitor.jwks.json. Give workers monitor.pem and
    operators.jwks.json. Keep operator.pem: it signs your commands.

    Exit status: 0 the keys are there, 2 one cannot be read or written.
    """
    from failshut_console.local.state import State

    home = State(state)
    written = home.ensure_keys()
    for path, what in (
        (home.signing_key, "signs permits; for workers (--signing-key)"),
        (home.jwks, "verifies permits; for guards (FAILSHUT_JWKS)"),
        (home.operator_key, "signs your commands; for you (--key)"),
        (home.operators, "who may command; for workers (--operators)"),
    ):
        typer.echo(f"{'made' if path in written else 'kept'}  {path}  {what}")


@group.command("policy")
def policy(
    file: Annotated[Path, typer.Argument(metavar="FILE", help="Where the private key goes. The public one stands beside it.")],
) -> None:
    """Make a policy key: it signs bundles of policies, and neither commands nor permits.

    The private key stays with whoever answers for policies (mode 0600). FILE.pub.json goes to whoever keeps the operators
    file: `failshut authority add FILE.pub.json --name WHO`.

    Exit status: 0 made, 1 there is such a file, 2 it cannot be written.
    """
    from failshut.signing import SigningKey

    public = file.with_name(file.name + ".pub.json")
    if file.exists() or public.exists():
        raise Trouble(f"{file} or {public} exists already", "nothing was made", "name another file", Exit.REFUSED)
    key = SigningKey.generate()
    try:
        key.save(file)
        key.write_jwks(public)
    except OSError as error:
        raise Trouble(f"{file} cannot be written: {error}", "nothing was made", "name another file") from error
    typer.echo(f"made  {file}  signs bundles of policies: failshut policy sign --key {file}")
    typer.echo(f"made  {public}  verifies them: failshut authority add {public} --name WHO")
