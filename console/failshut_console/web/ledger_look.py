"""How a ledger and its witnesses are, for the page about health: read from its files, verified, and a few seconds old at most.

A look reads files, so a thread of its own does it, one at a time, and only while somebody asks. What cannot be believed is
said in words, and with no number beside it.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any, Final

from failshut_console.exits import Trouble
from failshut_console.ledger.witness_status import cosigned_words, status
from failshut_ledger.notes.policy import Policy

LOOK_SECONDS: Final = 5.0
#: What was seen so long ago is not shown any more: the look hangs, or no thread can be started.
STALE_SECONDS: Final = 30.0


class LedgerLook:
    """What was seen of one ledger last, under one trust policy."""

    def __init__(self, folder: Path, policy: Policy, monotonic: Callable[[], float] = time.monotonic) -> None:
        self._folder, self._policy, self._monotonic = folder, policy, monotonic
        self._last: dict[str, Any] = {"words": "It was not looked at yet.", "wrong": "", "witnesses": []}
        self._looked_mono = float("-inf")
        self._looking = threading.Lock()

    def now(self) -> dict[str, Any]:
        """Return what was seen last, and look again if that is some seconds ago. It waits for nothing."""
        age_s = self._monotonic() - self._looked_mono
        if age_s >= LOOK_SECONDS and self._looking.acquire(blocking=False):
            try:
                threading.Thread(target=self._look, name="failshut-ledger-look", daemon=True).start()
            except RuntimeError:
                self._looking.release()
        if self._looked_mono > float("-inf") and age_s > STALE_SECONDS:
            return {"words": "", "wrong": f"It was not read for {age_s:.0f} s.", "witnesses": []}
        return self._last

    def _look(self) -> None:
        try:
            self._last = self._seen()
        except Exception as error:  # noqa: BLE001 - whatever it is, nothing that was seen before is true of now
            self._last = {"words": "", "wrong": f"It cannot be read: {type(error).__name__}: {error}"[:500], "witnesses": []}
        finally:
            self._looked_mono = self._monotonic()
            self._looking.release()

    def _seen(self) -> dict[str, Any]:
        try:
            found = status(self._folder, self._policy)
        except Trouble as trouble:
            return {"words": "", "wrong": trouble.what, "witnesses": []}
        missing = "" if found["quorum_met"] else "No quorum of witnesses has cosigned this tree."
        return {
            "words": f"{found['origin']}: {found['size']} leaves, {cosigned_words(found)}",
            "wrong": found["fork"] or missing,
            "witnesses": [
                {"name": name, "cosigned_seconds": one["cosigned_seconds"], "said": one["said"], "why": one["why"]}
                for name, one in found["witnesses"].items()
            ],
        }
