"""`failshut authority`: whose signatures a bundle of policies needs, in the operators file that workers follow."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from failshut_console.commands.operators import TAKEN_UP, File, Who, changed, read_book, write_book
from failshut_console.commands.options import FOLDER, AsJson, Folder
from failshut_console.exits import Trouble

if TYPE_CHECKING:
    from failshut_console.local.operator_book import OperatorBook

group = typer.Typer(
    no_args_is_help=True,
    help="The policy authority: policy keys, without whose signatures no operator puts a policy in force.",
)
UNCHANGED = "whose signatures policies need is as it was"
ASKS = "a bundle in force that they did not sign closes its gates"


@group.command("list")
def list_authority(file: File = None, state: Folder = FOLDER, as_json: AsJson = False) -> None:
    """Show the policy keys, and how many of them must sign a bundle.

    Exit status: 0 shown, 2 there is no such file, or it cannot be read.
    """
    from failshut_console.terminal.times import utc

    _, book = read_book(file, state)
    needed = book.authority.needed if book.authority else 0
    if as_json:
        typer.echo(json.dumps({"needed": needed, "keys": [one._asdict() for one in book.policy_keys]}))
        return
    typer.echo(f"policies need {needed} signatures" if needed else "no authority is named: an operator's command is enough")
    for one in book.policy_keys:
        typer.echo(f"{one.kid}  {utc(one.added_ms) if one.added_ms else '-':<20}  {one.name or '-'}")


@group.command("add")
def add(
    key: Annotated[Path, typer.Argument(metavar="KEY", help="A public key: PEM or JWKS. Of a private one the public half.")],
    name: Annotated[str, typer.Option(help="Whose it is.")],
    file: File = None,
    state: Folder = FOLDER,
) -> None:
    """Let a key sign policies. Once the first key is named, every bundle needs a signature.

    Before you name the first key, sign the bundle in force with it and activate that: without its signature the gates close. A
    key that commands, or that signs permits, can be no policy key.

    Exit status: 0 added, 1 it is there already, is an operator's, or there are too many, 2 a file cannot be read or written.
    """
    from failshut_console.local.operator_book import public_keys

    try:
        keys = public_keys(key)
    except (OSError, ValueError) as error:
        raise Trouble(f"{key} cannot be used: {error}", UNCHANGED, "give an Ed25519 public key in PEM, or a JWKS") from error
    book = _change(file, state, lambda book: book.with_policy_keys(keys, name))
    typer.echo(f"{name} may sign policies. {_asked(book)}; {ASKS}; {TAKEN_UP}")


@group.command("remove")
def remove(who: Who, file: File = None, state: Folder = FOLDER) -> None:
    """Withdraw a policy key. If the bundle in force needs its signature, the gates close: first sign it with another key.

    Exit status: 0 removed, 1 it is nobody's, or too few would be left, 2 the file cannot be read or written.
    """
    book = _change(file, state, lambda book: book.without_policy_key(who))
    typer.echo(f"{who} may sign policies no more. {_asked(book)}; {ASKS}; {TAKEN_UP}")


@group.command("require")
def require(
    needed: Annotated[int, typer.Argument(metavar="N", help="How many different policy keys must sign a bundle.")],
    file: File = None,
    state: Folder = FOLDER,
) -> None:
    """Set how many policy keys must sign a bundle. With 2, no person alone can sign policies.

    Exit status: 0 done, 1 there are not so many keys, 2 the file cannot be read or written.
    """
    book = _change(file, state, lambda book: book.requiring(needed))
    typer.echo(f"{_asked(book)}; {ASKS}; {TAKEN_UP}")


@group.command("end")
def end(file: File = None, state: Folder = FOLDER) -> None:
    """End the policy authority: from then on an operator's command is enough to put policies in force.

    Exit status: 0 done, 1 there is none, 2 the file cannot be read or written.
    """
    _change(file, state, lambda book: book.without_authority())
    typer.echo(f"no authority is named any more: an operator's command is enough; {TAKEN_UP}")


def _change(file: Path | None, state: Path, change: Callable[[OperatorBook], OperatorBook]) -> OperatorBook:
    path, book = read_book(file, state)
    after = changed(lambda: change(book), UNCHANGED)
    write_book(after, path)
    return after


def _asked(book: OperatorBook) -> str:
    if book.authority is None:
        raise RuntimeError("an authority was changed, and there is none")
    return f"Policies need {book.authority.needed} of {len(book.authority.keys)} policy keys"
