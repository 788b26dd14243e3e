"""How the log looks, what it refuses to be asked, and what `failshut gates` says of a bypass."""

from __future__ import annotations

import json
import time
from dataclasses import replace

import pytest
from console.console_support import Failshut
from console.decisions import ADA, BYPASS, DRIFT, IN_BYPASS, START_MS, WHY, decision, encoded, refused

from failshut.cause import Cause
from failshut_breakers.decisions.decision import Breaker, Kind
from failshut_console.monitor.bypass_view import bypass_of
from failshut_console.monitor.log_entries import Digest, Entry
from failshut_console.terminal.log_lines import Lines, by, evidence
from failshut_console.terminal.times import read_when_ms


def entries() -> list[Entry]:
    digest = Digest()
    values = encoded(
        decision(Kind.OPEN, 1, gate="a.gate.with.a.very.long.name.that.nobody.should.choose.at.all"),
        decision(Kind.CLOSE, 2, **{**DRIFT, "because": "mean 48 to 97, " * 30}),
        decision(Kind.OPEN, 3, by=WHY, **IN_BYPASS),
        decision(Kind.CLOSE, 4, breaker=Breaker.LOCKED, cause=Cause.LOCK, by=f"{ADA}: {'a long reason ' * 30}"),
        refused(5),
    )
    return [entry for value in values if (entry := digest.take(START_MS + 1, value)) is not None]


@pytest.mark.parametrize("width", [60, 80, 139, 140, 160, 240])
def test_an_entry_fits_and_never_wraps(width: int) -> None:
    """One line from 140 columns on, two below; none is wider than the screen."""
    lines = Lines(width, entries())
    for entry in entries():
        drawn = lines.of(entry)
        assert len(drawn) == (1 if width >= 140 else 2)
        assert all(line.cell_len <= width and "\n" not in line.plain for line in drawn), [line.plain for line in drawn]
    assert lines.header().cell_len <= width


@pytest.mark.parametrize("width", [80, 160])
def test_everything_that_was_asked_for_is_on_the_screen(width: int) -> None:
    """Time, gate, what, cause, who, why, epoch and evidence."""
    closed, bypassed = entries()[1:3]
    lines = Lines(width, [bypassed])
    text = "\n".join(line.plain for line in lines.of(bypassed))
    epoch = 2**40 + 3
    for words in ("2026-03-01T11:00:00Z", "pay", "bypassed", "until 2026-03", "ada: looking into it", str(epoch), "0/3"):
        assert words in text, text
    assert "drift: mean 48" in lines.of(closed)[-1].plain


def test_columns_keep_their_place_while_the_log_is_followed() -> None:
    """An entry that comes later stands under the first ones, however long its gate's name is."""
    first, *_, last = entries()
    lines = Lines(160, [last])
    starts = {lines.of(entry)[0].plain.index(entry.what) for entry in (first, last)}
    assert starts == {lines.header().plain.index("what")}


def test_colours_say_whether_a_gate_opened_or_closed() -> None:
    """As in the other commands: green, red, yellow for a bypass."""
    lines = Lines(160, entries())
    opened, closed, bypassed = (lines.of(entry)[0] for entry in entries()[:3])
    for line, colour in ((opened, "green"), (closed, "red"), (bypassed, "yellow")):
        assert any(colour in str(span.style) for span in line.spans)


def test_evidence_that_is_far_behind_its_decision_says_so() -> None:
    """A worker that judges old evidence says decisions of long ago, now."""
    entry = entries()[1]
    assert evidence(entry) == "0/2"
    assert evidence(replace(entry, time_ms=START_MS + 7_260_000)) == "0/2, 2h 1m old"
    assert evidence(replace(entry, evidence_ms=0)) == "0/2, no time yet"


def test_a_key_alone_is_named_as_a_key() -> None:
    """An activation is signed, and its name stands in control alone."""
    assert by(replace(entries()[0], key="abcdefabcdef")) == "key abcdefabcdef"
    assert by(entries()[0]) == ""


@pytest.mark.parametrize(
    ("text", "time_ms"),
    [
        ("1h", START_MS - 3_600_000),
        ("90s", START_MS - 90_000),
        ("100w", START_MS - 60_480_000_000),
        ("2026-03-01T12:00:00+01:00", START_MS),
        (" 2026-03-01T11:00:00Z ", START_MS),
    ],
)
def test_times_are_written_as_durations_or_with_a_zone(text: str, time_ms: int) -> None:
    """What --since and --until take."""
    assert read_when_ms(text, START_MS) == time_ms


@pytest.mark.parametrize("text", ["", "soon", "1", "2026-03-01T11:00:00", "2026-03-01", "-1h", "0s", "1h" * 50])
def test_a_time_that_nobody_can_know_is_refused(text: str) -> None:
    """A time without a zone is another time elsewhere."""
    with pytest.raises(ValueError, match=r"is no time|names no zone"):
        read_when_ms(text, START_MS)


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (("--since", "soon"), "--since: 'soon' is no time"),
        (("--since", "2026-03-01T11:00:00"), "names no zone"),
        (("--until", "2h"), "--until is not after --since"),
        (("--follow", "--until", "1m"), "--follow has no end"),
        (("no/gate",), "gate"),
        ((), "no broker is known"),
    ],
)
def test_a_question_that_cannot_be_meant_is_refused(failshut: Failshut, arguments: tuple[str, ...], words: str) -> None:
    """Status 2, with what happened and what it means."""
    ended = failshut("log", *arguments)
    assert ended.status == 2
    assert words in ended.err
    assert "which means:" in ended.err


@pytest.mark.parametrize("option", [("--for", "5m"), ("--condition", "x"), ("--epoch", "7")])
def test_the_end_of_a_bypass_is_not_mixed_with_a_bypass(failshut: Failshut, option: tuple[str, str]) -> None:
    """Nobody believes that they shortened a bypass, or ended a part of it."""
    ended = failshut("bypass", "--end", "pay", "--why", "x", *option, "--broker", "kafka://127.0.0.1:1")
    assert ended.status == 2
    assert option[0] in ended.err
    assert "nothing was sent" in ended.err


class TestBypassView:
    """What the status beside a permit says of the bypass in force."""

    STATUS = json.loads(encoded(decision(Kind.RENEW, 3, **IN_BYPASS))[0])
    EPOCH = STATUS["epoch"]

    def test_it_names_who_why_over_what_and_until_when(self) -> None:
        """And how to end it earlier."""
        view = bypass_of(self.STATUS, self.EPOCH, START_MS)
        assert view is not None
        text = "\n".join(view.lines("pay", START_MS))
        for words in ("bypassed by ada (kkkkkkkkkkkk): a known change", "overrides drift:agent/amount"):
            assert words in text
        for words in ("ends 2026-03-01T11:10:00Z, in 10m 0s", "failshut bypass --end pay --why"):
            assert words in text

    def test_one_that_has_ended_is_not_in_force(self) -> None:
        """Whatever a status says that nobody renews."""
        assert bypass_of(self.STATUS, self.EPOCH, BYPASS.until_ms) is None

    def test_one_of_another_epoch_names_nobody(self) -> None:
        """The permit is of another decision than the status."""
        assert bypass_of(self.STATUS, "0" * 16, START_MS) is None
        assert bypass_of({**self.STATUS, "epoch": ""}, "", START_MS) is None

    @pytest.mark.parametrize(
        "said", [None, [], "x", {}, {"conditions": "x", "until_ms": 2**50}, {"conditions": [], "until_ms": "1"}]
    )
    def test_what_cannot_be_read_says_nothing(self, said: object) -> None:
        """Whoever can write the store can write a status."""
        assert bypass_of({"epoch": self.EPOCH, "bypass": said}, self.EPOCH, START_MS) is None

    def test_it_commands_no_terminal(self) -> None:
        """Names, reasons and conditions are escaped; an end beyond every calendar is a number."""
        said = {"by": "\x1b", "why": "\x1b", "conditions": ["\x1b"], "until_ms": 2**60}
        view = bypass_of({"epoch": self.EPOCH, "bypass": said}, self.EPOCH, int(time.time() * 1000))
        assert view is not None
        assert all(line.isprintable() for line in view.lines("pay", START_MS))
