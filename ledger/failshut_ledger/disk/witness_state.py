"""What a witness keeps: for each log, whose signatures count, and the tree that it cosigned last.

    logs/HASH/keys          the log's public keys, a line each
    logs/HASH/checkpoint    the last tree, with the log's signature and the witness's; `none` before the first

HASH is the SHA-256 of the log's origin. A log without both files is damaged. It does not begin anew, because a witness that
forgot would cosign a fork. A new state is synced and renamed before anybody hears of it, and is verified when it is read.
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Final

from failshut_ledger.disk.files import Files
from failshut_ledger.disk.lock import WITNESS, writing
from failshut_ledger.errors import AlreadyThere, Damaged, DiskFailed, FileDamaged, Malformed, NoCheckpoint, Unproven
from failshut_ledger.notes.checkpoint import check_origin, open_checkpoint
from failshut_ledger.notes.keys import LINE_CHARS_MAX, NOTE, Verifier
from failshut_ledger.notes.note import NOTE_BYTES_MAX
from failshut_ledger.witness.judging import Witnessed
from failshut_ledger.witness.request import origin_hash

LOGS: Final = "logs"
LOGS_MAX: Final = 1_000
KEYS_MAX: Final = 16
_NONE: Final = b"none\n"


class WitnessState:
    """The state of one witness; `open_witness` makes it. `logs` is by origin."""

    def __init__(self, files: Files, own: Sequence[Verifier]) -> None:
        self._files, self._own = files, tuple(own)
        self.logs: dict[str, Witnessed] = {}
        for name in sorted(_names(files)):
            if not self._never_began(name):
                self._read(name)

    def keep(self, origin: str, note: bytes) -> None:
        """Keep a cosigned note as a log's last. On the disk when this returns.

        Raises:
            DiskFailed: whether it is there, the disk says at the next `again`.
        """
        log = self.logs[origin]
        checkpoint, _ = open_checkpoint(note, log.keys)
        path = _path(origin, "checkpoint")
        self._files.write(path, note)
        self._files.settle()
        self.logs[origin] = Witnessed(log.keys, checkpoint)

    def again(self, origin: str) -> None:
        """Read a log's state from the disk again. Raises Damaged, DiskFailed."""
        self._read(origin_hash(origin))

    def note(self, name: str) -> bytes | None:
        """Return the last cosigned note of the log with this hash; None where there is none. Raises Damaged, DiskFailed."""
        origin = next((one for one in self.logs if origin_hash(one) == name), None)
        data = None if origin is None else self._files.read(_path(origin, "checkpoint"), NOTE_BYTES_MAX)
        return None if data == _NONE else data

    def add(self, key: Verifier) -> bool:
        """Witness a log from now on, or know one more key of it; return whether that is new.

        Raises:
            Malformed: it is no log's key, or there is no more room.
            DiskFailed: it was not written.
        """
        if key.kind != NOTE:
            raise Malformed(f"{key.label} is no log's key: its type is {key.kind}")
        origin = check_origin(key.name)
        log = self.logs.get(origin)
        keys = log.keys if log else ()
        if key in keys:
            return False
        if len(keys) >= KEYS_MAX or (log is None and len(self.logs) >= LOGS_MAX):
            raise Malformed(f"a witness knows at most {LOGS_MAX} logs, and {KEYS_MAX} keys of each")
        if log is None:
            self._files.write(_path(origin, "checkpoint"), _NONE)
        self._files.write(_path(origin, "keys"), "".join(f"{one}\n" for one in (*keys, key)).encode())
        self._files.settle()
        self.logs[origin] = Witnessed((*keys, key), log.last if log else None)
        return True

    def _never_began(self, name: str) -> bool:
        """Return whether `add` was killed before a log's keys were there: nothing was cosigned then."""
        folder = f"{LOGS}/{name}"
        if self._files.there(f"{folder}/keys"):
            return False
        return not self._files.there(f"{folder}/checkpoint") or self._files.read(f"{folder}/checkpoint", len(_NONE)) == _NONE

    def _read(self, name: str) -> None:
        path = f"{LOGS}/{name}/checkpoint"
        try:
            lines = self._files.read(f"{LOGS}/{name}/keys", KEYS_MAX * (LINE_CHARS_MAX + 1)).decode().splitlines()
            keys = tuple(Verifier.parse(line) for line in lines)
            data, last = self._files.read(path, NOTE_BYTES_MAX), None
            if data != _NONE:
                last, note = open_checkpoint(data, keys, self._own)
                if not any(one in note.verified for one in self._own):
                    raise Malformed("this witness has not cosigned it")
        except (Malformed, Unproven, UnicodeDecodeError) as error:
            raise FileDamaged(f"{path} is not what this witness wrote: {error}") from error
        if not keys or {origin_hash(one.name) for one in keys} != {name} or (last and last.origin != keys[0].name):
            raise FileDamaged(f"{LOGS}/{name} does not hold one log")
        self.logs[keys[0].name] = Witnessed(keys, last)


def create_witness(folder: Path) -> None:
    """Make a folder for a witness's state. Raises AlreadyThere, DiskFailed."""
    try:
        folder.mkdir(parents=True, exist_ok=True)
        if (folder / LOGS).exists():
            raise AlreadyThere(f"{folder} holds a witness's state: one that starts anew would cosign a fork")
        (folder / LOGS).mkdir()
    except OSError as error:
        raise DiskFailed(f"{folder}/{LOGS} cannot be made: {error.strerror}") from error


@contextlib.contextmanager
def open_witness(folder: Path, own: Sequence[Verifier]) -> Iterator[WitnessState]:
    """Be the one witness of a folder, for as long as the block lasts.

    Raises:
        AlreadyWritten: another process is.
        NoCheckpoint: there is no witness's state.
        Damaged: what is there is not what this witness wrote. Nothing is repaired here.
        DiskFailed: the disk cannot be read, or the lock cannot be taken.
    """
    if not (folder / LOGS).is_dir():
        raise NoCheckpoint(f"there is no witness in {folder}")
    with writing(folder, WITNESS):
        yield WitnessState(Files(folder), own)


def read_witness(folder: Path, own: Sequence[Verifier]) -> Mapping[str, Witnessed]:
    """Return what a witness keeps, without being the witness. Raises Damaged, DiskFailed."""
    if not (folder / LOGS).is_dir():
        raise NoCheckpoint(f"there is no witness in {folder}")
    return WitnessState(Files(folder), own).logs


def _names(files: Files) -> list[str]:
    """Return the folders of logs. Raises Damaged for what is none, DiskFailed."""
    try:
        names = [path.name for path in (files.folder / LOGS).iterdir()]
    except OSError as error:
        raise DiskFailed(f"{LOGS} cannot be listed: {error.strerror}") from error
    if len(names) > LOGS_MAX:
        raise Damaged(f"{LOGS} holds more than {LOGS_MAX} logs")
    return names


def _path(origin: str, file: str) -> str:
    return f"{LOGS}/{origin_hash(origin)}/{file}"
