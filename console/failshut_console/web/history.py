"""What Kafka knows of a gate, for its page: what happened to it, and the policy in force. `failshut log` reads the same.

Limits: at most `AT_ONCE` readings run, and further ones wait. One reading takes at most `READ_MAX` decisions, the newest, and
shows at most `SHOWN_MAX` entries. Without a broker it says so.
"""

from __future__ import annotations

import asyncio
import time
from typing import Any, Final

from failshut_console.exits import Trouble
from failshut_console.monitor.decision_log import DecisionLog
from failshut_console.monitor.log_bounds import Newest, cut_words
from failshut_console.monitor.log_entries import Digest
from failshut_console.monitor.policies_in_force import written_in_force
from failshut_console.terminal.telling import Question, gather

AT_ONCE: Final = 2
READ_MAX: Final = 50_000
SHOWN_MAX: Final = 100
SPANS_HOURS: Final = (1, 24, 24 * 7)

NO_BROKER: Final = "This gateway knows no broker, so it cannot read the log. Start it with --broker, or ask failshut log."


class History:
    """Reads the log. Only in the event loop."""

    def __init__(self, broker: str, prefix: str, jwks: str) -> None:
        self._broker, self._prefix, self._jwks = broker, prefix, jwks
        self._at_once = asyncio.Semaphore(AT_ONCE)

    async def decisions(self, gate: str, hours: int) -> dict[str, Any]:
        """Return what happened to a gate in the last hours, the newest first, and what is missing, in words."""
        if not self._broker:
            return {"entries": [], "trouble": NO_BROKER, "cut": []}
        now_ms = int(time.time() * 1000)
        question = Question(gate, now_ms - hours * 3_600_000, 0, SHOWN_MAX, follow=False, as_json=True)
        digest, kept = Digest(), Newest(SHOWN_MAX)
        try:
            async with self._at_once, DecisionLog(self._broker, self._prefix) as log:
                span = await log.span(question.since_ms, 0, READ_MAX)
                whole_from_ms = await gather(log, span, question, digest, kept)
        except Trouble as trouble:
            return {"entries": [], "trouble": trouble.what, "cut": []}
        entries = [entry.as_json() for entry in reversed(kept.taken(whole_from_ms))]
        return {"entries": entries, "trouble": "", "cut": cut_words(span.unread, whole_from_ms, kept.dropped, SHOWN_MAX)}

    async def policy(self, gate: str) -> dict[str, Any]:
        """Return the policy in force of a gate, as its file says it, or why there is none."""
        if not self._broker:
            return {"text": "", "trouble": NO_BROKER}
        try:
            async with self._at_once:
                entry, text = await written_in_force(self._broker, self._prefix, self._jwks, gate)
        except Trouble as trouble:
            return {"text": "", "trouble": trouble.what}
        if entry is None:
            return {"text": "", "trouble": "No policy in force speaks of this gate, as far as the log says."}
        if entry.policy is None:
            return {"text": text, "file": entry.file, "trouble": f"{entry.file}: {entry.fault}"}
        missing = "" if text else f"The log does not hold the text of {entry.file} any more."
        return {"text": text, "file": entry.file, "trouble": missing}
