"""`failshut operators`: who may command, as a file that workers follow."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, TypeVar

import typer

from failshut_console.commands.options import FOLDER, AsJson, Folder, OperatorKey
from failshut_console.exits import Exit, Trouble

if TYPE_CHECKING:
    from failshut_console.local.operator_book import OperatorBook

T = TypeVar("T")
group = typer.Typer(
    no_args_is_help=True,
    help="Operators: whose commands count. A file of public keys, which every worker reads and follows.",
)

File = Annotated[
    Path | None,
    typer.Option("--file", envvar="FAILSHUT_OPERATORS", help="The operators file (JWKS). Default: the state folder's."),
]
Who = Annotated[str, typer.Argument(metavar="WHO", help="A name, or the beginning of a key id.")]
UNCHANGED = "whose commands count is as it was"
TAKEN_UP = "workers that read this file take it up within a second; bring it to every other host that runs one"


@group.command("list")
def list_operators(file: File = None, state: Folder = FOLDER, as_json: AsJson = False) -> None:
    """Show whose commands count, as this file says. Workers go by control: `failshut watch` says if control and file differ.

    Exit status: 0 shown, 2 there is no such file, or it cannot be read.
    """
    from failshut_console.terminal.times import utc

    path, book = read_book(file, state)
    if book.keys is None:
        raise Trouble(
            f"there is no {path}", "nothing was read", "failshut operators add KEY --name WHO, or failshut keys create"
        )
    if as_json:
        typer.echo(json.dumps([one._asdict() for one in book.operators]))
        return
    for one in book.operators:
        typer.echo(f"{one.kid}  {utc(one.added_ms) if one.added_ms else '-':<20}  {one.name or '-'}")


@group.command("add")
def add(
    key: Annotated[Path, typer.Argument(metavar="KEY", help="A public key: PEM or JWKS. Of a private one the public half.")],
    name: Annotated[str, typer.Option(help="Whose it is.")],
    file: File = None,
    state: Folder = FOLDER,
) -> None:
    """Let a key command. Its owner keeps the private half and sends you the public one.

    Exit status: 0 added, 1 it is there already, or there are too many, 2 a file cannot be read or written.
    """
    from failshut_console.local.operator_book import public_keys

    path, book = read_book(file, state)
    try:
        keys = public_keys(key)
    except (OSError, ValueError) as error:
        raise Trouble(f"{key} cannot be used: {error}", UNCHANGED, "give an Ed25519 public key in PEM, or a JWKS") from error
    write_book(changed(lambda: book.added(keys, name)), path)
    typer.echo(f"{name} may command; {TAKEN_UP}")


@group.command("remove")
def remove(who: Who, file: File = None, state: Folder = FOLDER) -> None:
    """Withdraw a key. Commands that it signed before the change is on control still count, and none after that.

    Exit status: 0 removed, 1 it is nobody's, or the last one, 2 the file cannot be read or written.
    """
    path, book = read_book(file, state)
    one = changed(lambda: book.find(who))
    write_book(changed(lambda: book.removed(one.kid)), path)
    typer.echo(f"{one.name or one.kid} may command no more; {TAKEN_UP}")


@group.command("rotate")
def rotate(
    key: OperatorKey = "",
    keep: Annotated[bool, typer.Option("--keep", help="Let the former key command as well, until you remove it.")] = False,
    file: File = None,
    state: Folder = FOLDER,
) -> None:
    """Replace your own key: make a new one in its place, and have it command in place of the former, under the same name.

    The former private key stays beside it as FILE.former. The new key does not believe terms that the former one signed, so
    name your installation from now on (FAILSHUT_INSTALLATION). With several hosts, use --keep, and copy the operators file to
    each of them: until a worker has the new file, it believes the former key alone. Then remove the former key.

    Exit status: 0 replaced, 1 the former key is no operator's, 2 a file cannot be read or written.
    """
    from failshut.signing import SigningKey
    from failshut_console.local.state import State
    from failshut_console.monitor.send_command import load_operator_key

    path, book = read_book(file, state)
    place = Path(key) if key else State(state).operator_key
    former = load_operator_key(str(place))
    one = changed(lambda: book.find(former.kid))
    new, aside = SigningKey.generate(), place.with_name(place.name + ".former")
    beside = place.with_name(place.name + ".new")
    both = changed(lambda: book.added(new.key_set(), one.name))
    try:
        # At no moment does a private key alone stand where no operators file names it, or the other way round.
        new.save(beside)
        both.write(path)
        place.replace(aside)
        beside.replace(place)
        if not keep:
            both.removed(former.kid).write(path)
    except OSError as error:
        raise Trouble(
            f"a file cannot be written: {error}",
            f"the operators file may name either key, and private keys may be in {beside} and {aside}",
            "keep both files, and look at `failshut operators list`: it shows which keys count",
        ) from error
    typer.echo(f"{one.name or former.kid}: {former.kid[:12]} is replaced by {new.kid[:12]}; {TAKEN_UP}")


def read_book(file: Path | None, state: Path) -> tuple[Path, OperatorBook]:
    """Return the operators file that is meant, and what it holds. Raises `Trouble`."""
    from failshut_console.local.operator_book import OperatorBook
    from failshut_console.local.state import State

    path = file or State(state).operators
    try:
        return path, OperatorBook.read(path)
    except (OSError, ValueError) as error:
        raise Trouble(f"{path} cannot be used: {error}", UNCHANGED, "repair it, or name another one: --file") from error


def changed(change: Callable[[], T], unchanged: str = UNCHANGED) -> T:
    """Return what a change of the file makes. Raises `Trouble` where it cannot be made."""
    from failshut_console.local.operator_book import BookError

    try:
        return change()
    except BookError as error:
        raise Trouble(str(error), unchanged, "failshut operators list, failshut authority list", Exit.REFUSED) from error


def write_book(book: OperatorBook, path: Path) -> None:
    """Write the operators file. Raises `Trouble`."""
    try:
        book.write(path)
    except OSError as error:
        raise Trouble(f"{path} cannot be written: {error}", UNCHANGED, "make its folder writable") from error
