"""Asks one witness for one checkpoint at a time, in a thread of its own: a witness that hangs holds up nobody else.

What an exchange comes to is one of five words. A witness that does not cosign is asked again after a pause that grows.
"""

from __future__ import annotations

import queue
import threading
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path
from typing import Final

from failshut_console.ledger.witness_line import Unheard, WitnessLine
from failshut_ledger.disk.files import Files
from failshut_ledger.disk.reader import DiskTiles
from failshut_ledger.errors import DiskFailed, LedgerError, Malformed, Unproven
from failshut_ledger.notes.checkpoint import Checkpoint
from failshut_ledger.notes.keys import Verifier
from failshut_ledger.notes.note import Signature
from failshut_ledger.witness.collecting import ANSWER_BYTES_MAX, is_fork, known_size, proven_request, taken
from failshut_ledger.witness.judging import FORKED, STALE
from failshut_ledger.witness.request import ADD_PATH, origin_hash

EXCHANGES_MAX: Final = 3
"""Requests for one checkpoint: another process may have asked the same witness in between."""
PAUSE_SECONDS_MIN: Final = 1.0
PAUSE_SECONDS_MAX: Final = 60.0


class Word(StrEnum):
    """What an exchange came to."""

    COSIGNED = "cosigned"
    UNHEARD = "unheard"
    """No answer, or one that says that the witness is in trouble."""
    REFUSED = "refused"
    """It does not cosign for this log, or what it sent is no cosignature."""
    DISPUTES = "disputes"
    """It says that it has seen another tree, and shows nothing."""
    FORKED = "forked"
    """It has shown another tree with the log's own signature."""
    DAMAGED = "damaged"
    """Our own tiles do not lead to our checkpoint: nobody was asked."""


@dataclass(frozen=True, slots=True)
class Heard:
    """What one witness came to, over one checkpoint. `shown` is the proof of a fork."""

    name: str
    text: str
    word: Word
    why: str = ""
    cosignature: Signature | None = None
    shown: bytes = b""


@dataclass(frozen=True, slots=True)
class Asked:
    """A checkpoint that is to be cosigned: what it says, and its signed note."""

    checkpoint: Checkpoint
    note: bytes


class WitnessLane:
    """The thread of one witness. Only the collector calls it; `answers` is where it answers."""

    def __init__(
        self,
        name: str,
        witness: Verifier,
        line: WitnessLine,
        folder: Path,
        logs: Sequence[Verifier],
        answers: queue.SimpleQueue[Heard],
        clock: Callable[[], float] = time.time,
    ) -> None:
        self.name, self.witness = name, witness
        self._line, self._files, self._logs = line, Files(folder), tuple(logs)
        self._answers, self._clock = answers, clock
        self._jobs: queue.Queue[Asked | None] = queue.Queue(1)
        self._known = 0  # how many leaves the witness knows of, as far as it has said
        self._failed = 0
        self._not_before_mono = 0.0
        self.busy = False
        self._thread = threading.Thread(target=self._work, name=f"failshut-witness-{name[:20]}", daemon=True)
        self._thread.start()

    def may_ask(self, now_mono: float) -> bool:
        """Return whether the witness can be asked now: it answered the last time, and no pause is on."""
        return not self.busy and now_mono >= self._not_before_mono

    def ask(self, asked: Asked) -> None:
        """Ask for a cosignature. The answer comes to the queue."""
        self.busy = True
        self._jobs.put_nowait(asked)

    def answered(self, heard: Heard, now_mono: float) -> None:
        """Take note that an answer was read from the queue."""
        self.busy = False
        self._failed = 0 if heard.word is Word.COSIGNED else self._failed + 1
        if self._failed:
            pause = min(PAUSE_SECONDS_MAX, PAUSE_SECONDS_MIN * 2.0 ** min(self._failed - 1, 10))
            self._not_before_mono = now_mono + (PAUSE_SECONDS_MAX if heard.word is Word.DISPUTES else pause)

    def end(self) -> None:
        """End the thread, once it has nothing under way. Nobody waits for it."""
        try:
            self._jobs.put_nowait(None)
        except queue.Full:
            pass  # it is a daemon, and ends with the process

    def _work(self) -> None:
        while (asked := self._jobs.get()) is not None:
            text = asked.checkpoint.text
            try:
                heard = self._exchange(asked)
            except Unheard as error:
                heard = Heard(self.name, text, Word.UNHEARD, str(error))
            except (Malformed, Unproven) as error:
                heard = Heard(self.name, text, Word.REFUSED, f"what it sent is no cosignature: {error}"[:300])
            except DiskFailed as error:
                heard = Heard(self.name, text, Word.UNHEARD, f"it was not asked: {error}")
            except LedgerError as error:
                heard = Heard(self.name, text, Word.DAMAGED, str(error))
            except Exception as error:  # noqa: BLE001 - a lane that ended in silence would look like a slow witness
                heard = Heard(self.name, text, Word.UNHEARD, f"asking failed: {type(error).__name__}")
            self._answers.put(heard)

    def _exchange(self, asked: Asked) -> Heard:
        """Ask until the witness cosigns, or until it is known why it does not.

        Raises:
            Unheard, Malformed, Unproven: what came is no answer.
            Damaged, DiskFailed: our own files are not what they should be.
        """
        checkpoint, text = asked.checkpoint, asked.checkpoint.text
        tiles = DiskTiles(self._files)
        for _ in range(EXCHANGES_MAX):
            if self._known > checkpoint.size:
                self._known, ahead = 0, self._known
                return self._contradicted(asked, tiles, f"it has cosigned {ahead} leaves, and the ledger has {checkpoint.size}")
            try:
                request = proven_request(tiles, checkpoint, asked.note, self._known)
            except Unproven as error:
                return Heard(self.name, text, Word.DAMAGED, str(error))
            answer = self._line.ask("POST", ADD_PATH, request.data, ANSWER_BYTES_MAX)
            if answer.status == 200:
                cosignature = taken(text, answer.body, self.witness, int(self._clock()))
                self._known = checkpoint.size
                return Heard(self.name, text, Word.COSIGNED, cosignature=cosignature)
            if answer.status == FORKED:
                return self._contradicted(asked, tiles, f"it has cosigned other {self._known} leaves than the ledger's first")
            if answer.status != STALE:
                word = Word.UNHEARD if answer.status >= 500 else Word.REFUSED
                return Heard(self.name, text, word, f"it answers with status {answer.status}")
            self._known = known_size(answer.body)
        return Heard(self.name, text, Word.REFUSED, f"{EXCHANGES_MAX} times it named another size as the one that it knows")

    def _contradicted(self, asked: Asked, tiles: DiskTiles, why: str) -> Heard:
        """Return what a contradiction is worth: a fork where the witness shows our own signature under another tree."""
        text = asked.checkpoint.text
        try:
            shown = self._line.ask("GET", f"/{origin_hash(asked.checkpoint.origin)}/checkpoint")
            said = is_fork(tiles, asked.checkpoint, shown.body, self._logs) if shown.status == 200 else ""
        except (Unheard, Malformed, Unproven):
            said = ""
        if said:
            return Heard(self.name, text, Word.FORKED, said, shown=shown.body)
        return Heard(self.name, text, Word.DISPUTES, f"{why}: the ledger is a fork or was rolled back, or the witness lies")
