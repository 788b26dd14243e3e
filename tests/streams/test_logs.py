"""A worker's log says each thing once, says when it is over, and loses nothing without counting it."""

from __future__ import annotations

import asyncio
import io
import json
import logging
import re
import subprocess
import sys
import threading
from collections.abc import Callable, Iterable, Iterator

import pytest
from patience import patient
from streams.test_effects import decision, made

from failshut_breakers.decisions.decision import Kind
from failshut_breakers.decisions.permits import Statement
from failshut_breakers.store.client import StoreUnreachable
from failshut_streams.logs import folding
from failshut_streams.logs.beginning import log_to
from failshut_streams.logs.episode import Episode, length
from failshut_streams.logs.folding import KINDS_MAX, OURS_MAX, WINDOW_SECONDS, Folding
from failshut_streams.logs.lines import WORDS_MAX, JsonLines, TextLines
from failshut_streams.metrics import MetricsUnavailable

LIBRARY, OURS = logging.getLogger("aiokafka.of.tests"), logging.getLogger("failshut_streams.of.tests")


class Clock:
    """A monotonic clock in a test's hands."""

    def __init__(self) -> None:
        self.now = 100.0

    def __call__(self) -> float:
        return self.now


class Log:
    """What a handler wrote."""

    def __init__(self, form: type[logging.Formatter] = TextLines) -> None:
        self.clock, self.stream = Clock(), io.StringIO()
        self.handler = Folding(self.stream, self.clock)
        self.handler.setFormatter(form())

    @property
    def lines(self) -> list[str]:
        return self.stream.getvalue().splitlines()

    def passes(self, seconds: float) -> None:
        self.clock.now += seconds
        self.handler.write_counted()


@pytest.fixture
def log() -> Iterator[Log]:
    one = Log()
    for logger in (LIBRARY, OURS):
        logger.addHandler(one.handler)
        logger.propagate = False
        logger.setLevel(logging.DEBUG)
    yield one
    for logger in (LIBRARY, OURS):
        logger.removeHandler(one.handler)
        logger.propagate = True
    one.handler.close()


def test_a_librarys_repeats_are_one_line_with_a_count(log: Log) -> None:
    """A broker that is away for twelve seconds leaves two lines, and the second says how many it stands for."""
    for number in range(8_530):
        LIBRARY.warning("Unable to request metadata from node %d: connection refused", number)
    assert len(log.lines) == 1
    assert "aiokafka.of.tests: Unable to request metadata from node 0" in log.lines[0]
    log.passes(WINDOW_SECONDS[0])
    assert len(log.lines) == 2
    assert "8529 more like this in 10 s: Unable to request metadata from node 8529" in log.lines[1]


def test_repeats_that_go_on_are_said_ever_more_rarely_and_a_new_one_is_news(log: Log) -> None:
    """Ten seconds, a minute, five minutes; once it was quiet for as long, the next one is written at once."""
    for span in WINDOW_SECONDS:
        for _ in range(3):
            LIBRARY.warning("away")
        log.passes(span)
    assert [line.partition("tests: ")[2] for line in log.lines] == [
        "away",
        "2 more like this in 10 s: away",
        "3 more like this in 60 s: away",
        "3 more like this in 300 s: away",
    ]
    log.passes(WINDOW_SECONDS[-1])
    LIBRARY.warning("away")
    assert log.lines[-1].endswith("tests: away")


def test_another_level_other_words_or_another_logger_is_not_a_repeat(log: Log) -> None:
    """What differs in more than a number is said."""
    LIBRARY.warning("away from %s", "a")
    LIBRARY.error("away from %s", "a")
    LIBRARY.warning("back at a")
    OURS.warning("away from %s", "a")
    assert len(log.lines) == 4


def test_our_own_lines_are_counted_only_when_there_are_many(log: Log) -> None:
    """A gate each has its line; a flood of thousands does not."""
    for number in range(OURS_MAX + 5):
        OURS.error("gate-%d: refused", number)
    assert len(log.lines) == OURS_MAX
    log.passes(WINDOW_SECONDS[0])
    assert f"5 more like this in 10 s: gate-{OURS_MAX + 4}: refused" in log.lines[-1]


def test_kinds_beyond_the_bound_are_counted_together(log: Log) -> None:
    """Words that are new each time take no memory without end, and are not lost without a word."""
    for number in range(KINDS_MAX + 50):
        LIBRARY.warning("kind %s of %s", chr(ord("a") + number % 26), chr(ord("a") + number // 26))
    assert len(log.lines) == KINDS_MAX + 1
    assert len(log.handler._windows) == KINDS_MAX + 1
    log.passes(WINDOW_SECONDS[0])
    assert "49 lines of many kinds, the last in 10 s" in log.lines[-1]


def test_what_is_counted_is_written_at_the_end(log: Log) -> None:
    """A worker that ends in the middle of a flood says how large it was."""
    for _ in range(3):
        LIBRARY.warning("away")
    log.handler.close()
    assert "2 more like this" in log.lines[-1]


def test_counts_are_written_though_nobody_logs_any_more(monkeypatch: pytest.MonkeyPatch, log: Log) -> None:
    """A thread of its own writes them: after a flood it is often quiet."""
    monkeypatch.setattr(folding, "_LOOK_SECONDS", 0.01)
    written = threading.Event()
    monkeypatch.setattr(log.stream, "flush", lambda: written.set() if len(log.lines) > 1 else None)
    LIBRARY.warning("away")
    LIBRARY.warning("away")
    log.clock.now += WINDOW_SECONDS[0]
    assert written.wait(patient(20))


def test_a_trouble_has_a_beginning_and_an_end_with_its_length(log: Log) -> None:
    """Once each, however often it is met, and only if it was met."""
    clock = Clock()
    episode = Episode(OURS, "store", "the store is back", clock)
    assert not episode.end()
    assert episode.begin("the store does not answer: %s", "refused")
    clock.now += 1
    assert not episode.begin("the store does not answer: %s", "timeout")
    assert episode.on
    clock.now += 2.1
    assert episode.end()
    assert not episode.end()
    assert [line.partition("tests: ")[2] for line in log.lines] == [
        "the store does not answer: refused",
        "the store is back after 3.1 s",
    ]


@pytest.mark.parametrize(("seconds", "said"), [(0.04, "0.0 s"), (59.6, "60 s"), (119.9, "120 s"), (3_661, "61 min 1 s")])
def test_lengths_are_said_as_a_person_says_them(seconds: float, said: str) -> None:
    """Tenths while they matter, minutes when they are many."""
    assert length(seconds) == said


def test_a_line_of_json_holds_what_a_collector_asks_for(log: Log) -> None:
    """Time, level, logger and message; the trouble and its length; the count; the traceback. One line each."""
    log.handler.setFormatter(JsonLines())
    clock = Clock()
    episode = Episode(OURS, "store", "the store is back", clock)
    episode.begin("gone\nwith a %s", "break")
    clock.now += 3.05
    episode.end()
    try:
        raise KeyError("a\nb")
    except KeyError:
        LIBRARY.exception("broken")
    LIBRARY.warning("away")
    LIBRARY.warning("away")
    log.passes(WINDOW_SECONDS[0])
    first, second, third, _, last = (json.loads(line) for line in log.lines)
    assert (first["level"], first["trouble"], first["event"], first["message"]) == (
        "warning",
        "store",
        "begin",
        "gone with a break",
    )
    assert (second["event"], second["seconds"]) == ("end", 3.05)
    assert "KeyError" in third["traceback"]
    assert third["time"].endswith("Z")
    assert (last["count"], last["logger"]) == (1, LIBRARY.name)


def test_a_giant_error_is_cut_and_a_wrong_one_is_said(log: Log) -> None:
    """No library can fill a disk with one line, or have its own line lost by a wrong argument."""
    LIBRARY.error("x" * 1_000_000)
    log.handler.handle(logging.LogRecord("aiokafka", logging.ERROR, "", 0, "%d items", ("many",), None))
    assert len(log.lines[0]) < WORDS_MAX + 200
    assert "cut: 1000000 characters" in log.lines[0]
    assert "'%d items' with ('many',)" in log.lines[1]


def test_an_error_that_says_what_to_do_has_no_traceback(log: Log) -> None:
    """Its one sentence stands alone; any other error keeps where it came from."""
    for error in (MetricsUnavailable("port 9108 is taken"), RuntimeError("who knows")):
        try:
            raise error
        except (MetricsUnavailable, RuntimeError) as raised:
            LIBRARY.exception("ended by %s", type(raised).__name__)
    text = log.stream.getvalue()
    assert text.count("Traceback") == 1
    assert "RuntimeError: who knows" in text


@pytest.fixture
def root() -> Iterator[Callable[[], list[logging.Handler]]]:
    """What every logger of this process writes to; put back afterwards."""
    logger = logging.getLogger()
    before, level = list(logger.handlers), logger.level
    for handler in before:
        logger.removeHandler(handler)
    yield lambda: list(logger.handlers)
    for handler in list(logger.handlers):
        logger.removeHandler(handler)
        handler.close()
    for handler in before:
        logger.addHandler(handler)
    logger.setLevel(level)


def test_a_second_setting_replaces_the_first(root: Callable[[], list[logging.Handler]]) -> None:
    """No line is written twice."""
    first, second = io.StringIO(), io.StringIO()
    log_to(first)
    log_to(second, "json")
    OURS.warning("once")
    assert (first.getvalue(), json.loads(second.getvalue())["message"]) == ("", "once")
    assert len(root()) == 1


@pytest.mark.parametrize(("form", "level"), [("yaml", "INFO"), ("json", "LOUD")])
def test_a_form_or_level_that_is_none_is_refused(root: Callable[[], list[logging.Handler]], form: str, level: str) -> None:
    """Nobody finds out in the middle of a night that nothing was written."""
    with pytest.raises(ValueError, match=r"yaml|LOUD"):
        log_to(io.StringIO(), form, level)


def test_a_fork_says_its_counts_too() -> None:
    """The thread that writes counts is not inherited: a process that was forked starts its own."""
    code = (
        "import logging, os, sys, time\n"
        "from failshut_streams.logs import folding\n"
        "from failshut_streams.logs.beginning import log_to\n"
        "folding._LOOK_SECONDS, folding.WINDOW_SECONDS = 0.01, (0.05,)\n"
        "log_to()\n"
        "one = logging.getLogger('aiokafka')\n"
        "one.warning('away'); one.warning('away')\n"
        "if os.fork() == 0:\n"
        "    handler = logging.getLogger().handlers[0]\n"
        "    one.warning('away')\n"
        "    end = time.monotonic() + 60\n"
        "    while any(window.count for window in handler._windows.values()) and time.monotonic() < end:\n"
        "        time.sleep(0.01)\n"
        "    os._exit(handler._looking is None or time.monotonic() > end)\n"
        "sys.exit(os.waitstatus_to_exitcode(os.wait()[1]))\n"
    )
    assert subprocess.run([sys.executable, "-c", code], capture_output=True, timeout=patient(60)).returncode == 0


def test_repeats_at_the_interpreters_end_do_not_keep_it_from_ending() -> None:
    """What is let go last may still log. No thread can start by then: whoever starts one waits for ever."""
    code = (
        "import logging\n"
        "from failshut_streams.logs.beginning import log_to\n"
        "log_to()\n"
        "class Held:\n"
        "    def __del__(self, log=logging.getLogger('asyncio')):\n"
        "        log.error('Unclosed')\n"
        "first, second = Held(), Held()\n"
        "first.itself, second.itself = first, second\n"
    )
    ended = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=patient(20), check=True)
    assert ended.stderr.count("Unclosed") == 2, ended.stderr


async def test_a_store_that_takes_closings_alone_is_one_trouble_and_not_a_hundred(caplog: pytest.LogCaptureFixture) -> None:
    """A full store takes closings and no permits: it is not "back" between two refusals. At its end it says for how long."""
    caplog.set_level("INFO")
    effects, store, _ = made()
    write = store.write

    async def full(pairs: Iterable[tuple[Statement, bytes]]) -> list[bool]:
        pairs = list(pairs)
        if full_now and any(statement.kind == "permit" for statement, _ in pairs):
            raise StoreUnreachable("OutOfMemoryError")
        return list(await write(pairs))

    full_now, store.write = True, full
    loop = asyncio.create_task(effects.write_regularly())
    try:
        async with asyncio.timeout(patient(20)):
            await effects.take([decision(Kind.OPEN, gate="route")])
            for offset in range(3):
                await effects.take([decision(Kind.CLOSE, offset=offset + 5)])
                while effects.waits(["pay"]):
                    await asyncio.sleep(0.01)
                while effects.reachable:
                    await asyncio.sleep(0.01)
            full_now = False
            while not effects.reachable:
                await asyncio.sleep(0.01)
    finally:
        loop.cancel()
        await asyncio.gather(loop, return_exceptions=True)
    said = [record.getMessage() for record in caplog.records]
    assert [line.startswith("the store does not answer") for line in said].count(True) == 1
    assert re.fullmatch(r"the store is back after \d+\.\d s", said[-1])
