"""Key files of a ledger: the secret line in a file that only its owner reads, the public line beside it for everybody."""

from __future__ import annotations

from pathlib import Path

from failshut.whole_file import write_whole
from failshut_console.exits import Exit, Trouble
from failshut_ledger.errors import LedgerError, Malformed, Refused
from failshut_ledger.notes.keys import LINE_CHARS_MAX, NOTE, Signer, Verifier


def public_of(path: Path) -> Path:
    """Return where the public line of a secret one stands."""
    return path.with_name(f"{path.name}.pub")


def make_key(path: Path, name: str, kind: int = NOTE) -> Signer:
    """Make a key and write both files: a log's, or a witness's. A file that is there is never replaced.

    Raises:
        Trouble: there is one, the name is none, or they cannot be written.
    """
    if path.exists():
        means = "no key was made: a key that is replaced can never sign again"
        raise Trouble(f"{path} exists already", means, "name another file")
    try:
        signer = Signer.generate(name, kind)
        path.parent.mkdir(parents=True, exist_ok=True)
        write_whole(path, f"{signer.secret()}\n".encode(), 0o600)
        write_whole(public_of(path), f"{signer.verifier}\n".encode(), 0o644)
    except Malformed as error:
        raise Trouble(str(error), "no key was made", "name it like an address: --name ledger.example.com/payments") from error
    except OSError as error:
        raise Trouble(f"{path} cannot be written: {error.strerror}", "no key was made", "name another file: --key") from error
    return signer


def load_signer(path: Path) -> Signer:
    """Read a secret key. Raises Trouble, which quotes nothing of the file."""
    try:
        return Signer.parse(_line(path))
    except Malformed as error:
        do = "name the file of the secret key, not the one that ends with .pub: --key"
        raise Trouble(f"{path} holds no secret key of a ledger or witness: {error}", "nothing was written", do) from error


def load_verifier(given: str, option: str = "--key") -> Verifier:
    """Read a public key: a line `NAME+ID+BASE64`, or the path of a file with one. Raises Trouble."""
    try:
        return Verifier.parse(given if given.count("+") >= 2 and not Path(given).exists() else _line(Path(given)))
    except Malformed as error:
        raise Trouble(
            f"{option}: {error}", "nothing was verified", "name the public line of a key (.pub), or its file"
        ) from error


def ledger_trouble(error: LedgerError, do: str = "") -> Trouble:
    """Return what is wrong with a ledger as an error of a command."""
    means = "nothing was written" if isinstance(error, Refused) else "the ledger proves nothing until this is repaired"
    return Trouble(str(error), means, do, Exit.REFUSED)


def _line(path: Path) -> str:
    try:
        with path.open(encoding="utf-8") as file:
            return file.read(LINE_CHARS_MAX + 1).strip()
    except (OSError, UnicodeDecodeError) as error:
        what = f"the key {path} cannot be read: {getattr(error, 'strerror', error)}"
        raise Trouble(what, "nothing was done", "name the file of a key that this login may read") from error
