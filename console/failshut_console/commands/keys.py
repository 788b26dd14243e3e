"""`failshut keys`: the keys of an installation, created once."""

from __future__ import annotations

import typer

from failshut_console.commands.options import FOLDER, Folder

group = typer.Typer(
    no_args_is_help=True,
    help="Keys: the monitor's signs permits, an operator's signs commands. Both are Ed25519.",
)


@group.command("create")
def create(state: Folder = FOLDER) -> None:
    """Make the keys that are missing in the state folder, and say what each is for. Existing keys are kept.

    Only you can read the private keys (mode 0600). Guards need monitor.jwks.json. Workers need monitor.pem and
    operators.jwks.json. You need operator.pem.

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


@group.callback()
def _keys() -> None:
    """Keep `create` a command of its own."""
