"""How entries of the log look: columns where there is room, and two lines for each entry where there is none.

The columns follow the questions of whoever was called: when, which gate, what happened, why, by whose word, and where the proof
stands. Text that does not fit is cut with an ellipsis, never wrapped. Every line says the same things in the same place, also
while the log is followed, so columns keep their width from the first entries on.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from rich.text import Text

from failshut_console.monitor import log_entries
from failshut_console.monitor.log_entries import Entry
from failshut_console.terminal.times import short, utc

STYLES = {
    log_entries.OPENED: "bold green",
    log_entries.CLOSED: "bold red",
    log_entries.STILL_CLOSED: "red",
    log_entries.LOCKED: "magenta",
    log_entries.PROBING: "yellow",
    log_entries.BYPASSED: "bold yellow",
    log_entries.BYPASS_ENDED: "yellow",
    log_entries.ACTIVATED: "cyan",
    log_entries.REFUSED: "dim",
    log_entries.WAITS: "dim",
    log_entries.WOULD_CLOSE: "magenta",
    log_entries.WOULD_OPEN: "green",
}
WIDE = 140
"""From so many columns on an entry is one line."""
TIME_WIDTH, WHAT_WIDTH, EPOCH_WIDTH, EVIDENCE_WIDTH, GAP = 20, 16, 16, 18, 2
GATE_WIDTH_MIN, GATE_WIDTH_MAX = 12, 40
BEHIND_MS = 10_000
"""Evidence that is so much older than its decision is worth a word: it lagged, or was judged a second time."""


class Lines:
    """Draws entries for a screen of `width` columns. Gates' names get the room that those in the first entries need."""

    def __init__(self, width: int, first: Iterable[Entry]) -> None:
        self.width, self.wide = width, width >= WIDE
        longest = max((len(entry.gate) for entry in first), default=0)
        room = width - TIME_WIDTH - WHAT_WIDTH - 2 * GAP
        if self.wide:
            room -= EPOCH_WIDTH + EVIDENCE_WIDTH + 2 * GAP
        room -= 2 * GAP
        self._gate = min(max(GATE_WIDTH_MIN, longest), GATE_WIDTH_MAX, max(GATE_WIDTH_MIN, room // 3))
        room = max(GATE_WIDTH_MIN, room - self._gate)
        self._because = room * 3 // 5 if self.wide else 0
        self._by = room - self._because

    def header(self) -> Text:
        """Return the line above the entries."""
        cells = [("time", TIME_WIDTH), ("gate", self._gate), ("what", WHAT_WIDTH)]
        if self.wide:
            cells += [("because", self._because), ("by", self._by), ("epoch", EPOCH_WIDTH), ("evidence", 0)]
        else:
            cells += [("by", self._by)]
        return _line([_cell(*cell, "bold") for cell in cells], self.width)

    def of(self, entry: Entry) -> list[Text]:
        """Return an entry as one line, or as two: what happened, and below it why and where the proof stands."""
        cells = [
            _cell(utc(entry.time_ms), TIME_WIDTH),
            _cell(entry.gate, self._gate),
            _cell(entry.what, WHAT_WIDTH, STYLES.get(entry.what, "")),
        ]
        if self.wide:
            cells += [_cell(because(entry), self._because), _cell(by(entry), self._by)]
            cells += [_cell(epoch(entry), EPOCH_WIDTH), _cell(evidence(entry), EVIDENCE_WIDTH)]
            return [_line(cells, self.width)]
        proof = f"epoch {epoch(entry)}, evidence {evidence(entry)}"
        room = max(GATE_WIDTH_MIN, self.width - len(proof) - 2 * GAP)
        below = [Text(""), _cell(because(entry), room), _cell(proof, 0, "dim")]
        return [_line([*cells, _cell(by(entry), self._by)], self.width), _line(below, self.width)]


def because(entry: Entry) -> str:
    """Return why: the cause, a bypass's reach, and the decision's own words."""
    words = " ".join(entry.because.split())
    if entry.what == log_entries.BYPASSED and entry.bypass is not None:
        return f"until {utc(entry.bypass[3])}, over {', '.join(entry.bypass[2])}; {words}"
    if entry.what == log_entries.ACTIVATED:
        words = f"{entry.policy[:19]}; {words}" if entry.state == "OPEN" else f"{entry.policy[:19]}; closed, {words}"
    return f"{entry.cause}: {words}" if entry.cause else words


def by(entry: Entry) -> str:
    """Return whose word it was and why; empty where evidence alone decided."""
    name = entry.who or (f"key {entry.key}" if entry.key else "")
    return f"{name}: {entry.why}" if entry.why else name


def epoch(entry: Entry) -> str:
    """Return the epoch as --epoch takes it."""
    return str(int(entry.epoch)) if entry.epoch.isascii() and entry.epoch.isdigit() else entry.epoch


def evidence(entry: Entry) -> str:
    """Return which record of the evidence log was judged, and how far its evidence was behind, where that is far."""
    at = f"{entry.evidence_partition}/{entry.evidence_offset}"
    behind_ms = entry.time_ms - entry.evidence_ms
    if not entry.evidence_ms:
        return f"{at}, no time yet"
    return f"{at}, {short(behind_ms)} old" if behind_ms > BEHIND_MS else at


def _cell(text: str, width: int, style: str = "") -> Text:
    """Return a text in so many columns; 0 leaves it as long as it is."""
    cell = Text(text, style, no_wrap=True)
    if width:
        cell.truncate(width, overflow="ellipsis", pad=True)
    return cell


def _line(cells: Sequence[Text], width: int) -> Text:
    line = Text(" " * GAP, no_wrap=True).join(cells)
    line.rstrip()
    line.truncate(width, overflow="ellipsis")
    return line
