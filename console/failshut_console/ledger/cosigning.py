"""Has a ledger's checkpoints cosigned by the witnesses of a trust policy, beside whoever writes it.

It reads the ledger's files, writes others beside them, and holds no lock of the writer: a witness that is down, slow or
lying never holds a decision up. One checkpoint is the present one at a time. All witnesses are asked for it at once, each in
a thread. It is published once the policy's quorum has cosigned it. The next one is taken up when the quorum has answered, or
after a bound. A witness that answers later still joins the checkpoint that it cosigned.

What it does about a fork: the proof is published, nobody is asked any more, and the writer writes nothing behind it. A
witness that says that there is a fork and shows nothing is doubted alone, and asked once a minute: see `WitnessLane`.
"""

from __future__ import annotations

import logging
import queue
import threading
import time
from collections import OrderedDict
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

from failshut_console.ledger.witness_lane import Asked, Heard, WitnessLane, Word
from failshut_console.ledger.witness_line import ANSWER_SECONDS_MAX, WitnessLine
from failshut_ledger.disk.check import read_note
from failshut_ledger.disk.cosigned import publish_cosigned, publish_fork, publish_heard, settle_fork
from failshut_ledger.disk.files import COSIGNED, NEXT, Files
from failshut_ledger.disk.lock import COSIGNING, writing
from failshut_ledger.disk.reader import DiskTiles
from failshut_ledger.errors import Damaged, DiskFailed, Forked, LedgerError, Malformed, NoCheckpoint, Unproven
from failshut_ledger.notes.checkpoint import open_checkpoint
from failshut_ledger.notes.note import Signature
from failshut_ledger.notes.policy import Policy
from failshut_ledger.witness.collecting import is_fork, joined_note

logger = logging.getLogger(__name__)

EVERY_SECONDS: Final = 0.5
"""From one checkpoint that is asked for to the next."""
REFRESH_SECONDS: Final = 60.0
"""A cosignature that is so old is asked for again, also where the ledger has not grown."""
PRESENT_SECONDS_MAX: Final = ANSWER_SECONDS_MAX + 1.0
"""So long a checkpoint waits for its quorum before a newer one is asked for in its place."""
GRACE_SECONDS: Final = 0.1
KEPT_MAX: Final = 16
"""Checkpoints whose late cosignatures are still taken."""
WITNESSES_MAX: Final = 32
_TICK_SECONDS: Final = 0.05


@dataclass
class Present:
    """A checkpoint, and who has cosigned it so far."""

    asked: Asked
    number: int
    began_mono: float
    cosignatures: dict[str, Signature] = field(default_factory=dict)
    at_mono: dict[str, float] = field(default_factory=dict)
    quorum_mono: float | None = None


class Cosigner:
    """Asks the witnesses of one policy about one ledger. Raises ValueError for a policy whose witnesses cannot be asked.

    Args:
        folder: the ledger's.
        policy: whose cosignatures are asked for; each witness has an address in it.
        every_seconds, refresh_seconds: override how often is asked.
        authority: a PEM file with the authority of the witnesses' certificates; by default the system's.
    """

    # Long: one argument for each thing that a test or an operator sets.
    def __init__(
        self,
        folder: Path,
        policy: Policy,
        *,
        every_seconds: float = EVERY_SECONDS,
        refresh_seconds: float = REFRESH_SECONDS,
        answer_seconds_max: float = ANSWER_SECONDS_MAX,
        authority: str | None = None,
        clock: Callable[[], float] = time.time,
    ) -> None:
        unknown = [name for name in policy.witnesses if name not in policy.addresses]
        if not policy.addresses or len(policy.witnesses) > WITNESSES_MAX:
            raise ValueError(f"a policy names 1 to {WITNESSES_MAX} witnesses with an address each")
        if unknown:
            logger.warning("the policy says no address of %s, so nobody asks there", ", ".join(unknown))
        self._lines = {
            name: WitnessLine(address, seconds_max=answer_seconds_max, authority=authority)
            for name, address in policy.addresses.items()
        }
        self._folder, self._files, self._policy = folder, Files(folder), policy
        self._every_s, self._refresh_s, self._clock = every_seconds, refresh_seconds, clock
        self._present_seconds_max = answer_seconds_max + 1.0
        self._answers: queue.SimpleQueue[Heard] = queue.SimpleQueue()
        self._lanes: dict[str, WitnessLane] = {}
        self._kept: OrderedDict[str, Present] = OrderedDict()
        self._present: Present | None = None
        self._published = 0  # the number of the checkpoint that is published
        self._said: dict[str, dict[str, Any]] = {}
        self._told_mono = float("-inf")
        self._changed = False

    def run(self, stop: threading.Event) -> None:
        """Ask until told to stop.

        Raises:
            Forked: the ledger's key has signed another tree. It is published.
            AlreadyWritten: another process asks for this ledger.
            LedgerError: the ledger is damaged, or the policy does not name its key.
        """
        with writing(self._folder, COSIGNING):
            self._begin()
            self._lanes = {
                name: WitnessLane(name, self._policy.witnesses[name], line, self._folder, self._policy.logs, self._answers)
                for name, line in self._lines.items()
            }
            try:
                while not stop.is_set():
                    self._turn()
            finally:
                for lane in self._lanes.values():
                    lane.end()
                self._tell(float("inf"))

    def _begin(self) -> None:
        """Look at what is there. Raises Forked where the published checkpoint contradicts the ledger."""
        asked = self._read(read_note(self._files))
        tiles = DiskTiles(self._files)
        settle_fork(self._files, tiles, asked.checkpoint)
        try:
            before = read_note(self._files, COSIGNED)
            self._continues(asked, before)
        except NoCheckpoint:
            pass  # nothing was cosigned yet
        except (Malformed, Unproven) as error:
            logger.warning("the cosigned checkpoint that is there says nothing, and will be replaced: %s", error)

    def _turn(self) -> None:
        try:
            self._take(self._answers.get(timeout=_TICK_SECONDS))
        except queue.Empty:
            pass
        now_mono = time.monotonic()
        if self._present is None or self._is_settled(self._present, now_mono):
            self._take_up(now_mono)
        if self._present is not None:
            self._ask(self._present, now_mono)
        self._tell(now_mono)

    def _take_up(self, now_mono: float) -> None:
        """Make the newest checkpoint the present one."""
        try:
            note = read_note(self._files)
        except DiskFailed as error:
            logger.error("the checkpoint cannot be read: %s", error)
            time.sleep(1.0)
            return
        if self._present is not None and self._present.asked.note == note:
            return
        asked = self._read(note)
        if self._present is not None:
            if asked.checkpoint.text == self._present.asked.checkpoint.text:
                return
            self._continues(asked, self._present.asked.note)
        number = self._present.number + 1 if self._present is not None else 1
        self._present = Present(asked, number, now_mono)
        self._kept[asked.checkpoint.text] = self._present
        while len(self._kept) > KEPT_MAX:
            self._kept.popitem(last=False)

    def _is_settled(self, present: Present, now_mono: float) -> bool:
        """Return whether a newer checkpoint may be asked for."""
        age_s = now_mono - present.began_mono
        if age_s < self._every_s:
            return False
        waits = any(lane.busy for lane in self._lanes.values())
        if present.quorum_mono is not None:
            return not waits or now_mono - present.quorum_mono >= GRACE_SECONDS
        return not waits or age_s >= self._present_seconds_max

    def _ask(self, present: Present, now_mono: float) -> None:
        for name, lane in self._lanes.items():
            fresh = now_mono - present.at_mono.get(name, float("-inf")) < self._refresh_s
            if not fresh and lane.may_ask(now_mono):
                lane.ask(present.asked)

    def _take(self, heard: Heard) -> None:
        """Take one answer. Raises Forked, Damaged."""
        now_mono = time.monotonic()
        self._lanes[heard.name].answered(heard, now_mono)
        before = self._said.get(heard.name, {})
        self._said[heard.name] = {
            "word": heard.word.value,
            "why": heard.why,
            "at_s": int(self._clock()),
            "cosigned_s": int(self._clock()) if heard.word is Word.COSIGNED else before.get("cosigned_s"),
        }
        self._changed = True
        if (heard.word, heard.why) != (before.get("word"), before.get("why")):
            logger.log(
                logging.INFO if heard.word is Word.COSIGNED else logging.WARNING,
                "the witness %s: %s%s", heard.name, heard.word.value, heard.why and f", {heard.why}",
            )  # fmt: skip
        if heard.word is Word.FORKED:
            self._fork(heard.shown, f"the witness {heard.name} shows it: {heard.why}")
        if heard.word is Word.DAMAGED:
            raise Damaged(heard.why)
        present = self._kept.get(heard.text)
        if heard.cosignature is not None and present is not None:
            present.cosignatures[heard.name] = heard.cosignature
            present.at_mono[heard.name] = now_mono
            self._publish(present, now_mono)

    def _publish(self, present: Present, now_mono: float) -> None:
        """Publish a checkpoint that has its quorum, unless a newer one is published."""
        if not self._policy.met_by(self._policy.witnesses[name] for name in present.cosignatures):
            return
        if present.quorum_mono is None:
            present.quorum_mono = now_mono
        if present.number >= self._published:
            try:
                publish_cosigned(self._files, joined_note(present.asked.note, present.cosignatures.values()))
            except DiskFailed as error:
                logger.error("the cosigned checkpoint is not published: %s", error)
                return
            self._published = present.number

    def _read(self, note: bytes) -> Asked:
        """Return a checkpoint's note, verified. Raises LedgerError where it is not what a log of the policy has signed."""
        return Asked(open_checkpoint(note, self._policy.logs)[0], note)

    def _continues(self, asked: Asked, before: bytes) -> None:
        """Refuse a checkpoint that contradicts one that was there before. Raises Forked, LedgerError."""
        said = is_fork(DiskTiles(self._files), asked.checkpoint, before, self._policy.logs)
        if said:
            self._fork(before, f"a former checkpoint shows it: {said}")

    def _fork(self, shown: bytes, why: str) -> None:
        """Publish the proof of a fork.

        Raises:
            Forked: in any case but one: what was shown waits under its first name. A loss of power can leave it so, and a
                writer that starts takes it up.
        """
        if self._waits(shown):
            logger.warning("a checkpoint that was signed waits for the writer to start: %s", why)
            return
        try:
            publish_fork(self._files, shown)
        except DiskFailed as error:
            logger.error("the proof of a fork is not on the disk: %s", error)
        raise Forked(f"FORK: {why}. No witness is asked any more, and nothing is written behind it")

    def _waits(self, shown: bytes) -> bool:
        try:
            waiting, _ = open_checkpoint(read_note(self._files, NEXT), self._policy.logs)
            return waiting.text == open_checkpoint(shown, self._policy.logs)[0].text
        except LedgerError:
            return False

    def _tell(self, now_mono: float) -> None:
        """Write down what each witness said last, at most once a second."""
        if self._changed and now_mono - self._told_mono >= 1.0:
            self._told_mono, self._changed = now_mono, False
            try:
                publish_heard(self._files, self._said)
            except DiskFailed as error:
                logger.error("what the witnesses said is not on the disk: %s", error)


def follow(cosigner: Cosigner, stop: threading.Event) -> threading.Thread:
    """Ask in a thread beside a writer. An error ends the asking, and is said; the writer goes on."""

    def work() -> None:
        try:
            cosigner.run(stop)
        except LedgerError as error:
            logger.error("no witness is asked any more: %s", error)
        except Exception as error:  # noqa: BLE001 - it must not be silent, and must not end the writer
            logger.error("asking the witnesses failed: %s: %s", type(error).__name__, error)

    thread = threading.Thread(target=work, name="failshut-cosigner", daemon=True)
    thread.start()
    return thread
