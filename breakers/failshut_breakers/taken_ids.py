"""A command counts once: ids that were taken, for as long as a copy of one could count again.

Whoever can write to control can write a signed command there a second time. A reset and a bypass name an epoch and are
void by then; a lock would close the gate again after every reset. So the first command with an id uses it up. Routers
and governors refuse every further one, as a function of the log.

Ids need not be kept for ever. A command about a gate says when it was signed, and counts only near that time. That is
at most `VALID_MS` before or after, by the broker's clock. What is remembered is bounded by time and by number. At the
number's bound new commands are refused: only an operator's own key can reach it.
"""

from __future__ import annotations

from dataclasses import dataclass, field

VALID_MS = 300_000
"""So far may a command's signing and its place in the log be apart. Clocks of operators must be better than this."""

STEP_BACK_MS = 300_000
"""So far may append times step back, when another broker leads the partition, before an id is forgotten too early."""

IDS_MAX = 4096


@dataclass(slots=True)
class Taken:
    """Ids of commands that were taken, with when each was signed."""

    ids: dict[str, int] = field(default_factory=dict)
    newest_ms: int = 0

    def take(self, identity: str, signed_ms: int, append_ms: int) -> str:
        """Take an id; return why it is refused, or "" where it is not."""
        apart_ms = append_ms - signed_ms
        if abs(apart_ms) > VALID_MS:
            when = f"{apart_ms // 1000} s before" if apart_ms > 0 else f"{-apart_ms // 1000} s after"
            return f"it was signed {when} it came to the log; a command counts within {VALID_MS // 1000} s: sign it anew"
        if append_ms > self.newest_ms:
            self.newest_ms = append_ms
            self._forget()
        if identity in self.ids:
            return f"its id {identity} was taken before: a command counts once"
        if len(self.ids) >= IDS_MAX:
            return f"{IDS_MAX} commands within {(VALID_MS + STEP_BACK_MS) // 1000} s: wait, then sign it anew"
        self.ids[identity] = signed_ms
        return ""

    def _forget(self) -> None:
        """Let go of ids that no copy can have any more: all that is signed so long ago is refused for its age."""
        oldest_ms = self.newest_ms - VALID_MS - STEP_BACK_MS
        if self.ids and min(self.ids.values()) < oldest_ms:
            self.ids = {identity: at_ms for identity, at_ms in self.ids.items() if at_ms >= oldest_ms}
