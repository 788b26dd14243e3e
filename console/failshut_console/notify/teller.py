"""Tells one target what happens, in order, at least once: it reads the topic for itself, from where the target was told.

A target that is dead holds up nobody else, and no memory grows: Kafka is the queue. News that were delivered move the target's
book on, and nothing else does. A delivery that failed is tried again, after ever longer waits, until it is given up.

Limits: what is told as it was killed is told again, with the same id. News that are older than `give_up` have one try.
"""

from __future__ import annotations

import asyncio
import logging
import math
import random
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Final, NamedTuple

from aiokafka import TopicPartition

from failshut_console.exits import Trouble
from failshut_console.monitor.decision_log import DecisionLog, Said
from failshut_console.notify import book_file
from failshut_console.notify.news import Book, News
from failshut_console.notify.senders import Failed, Sender
from failshut_console.notify.settings import NoSecret, Target
from failshut_streams.logs.episode import Episode

logger = logging.getLogger(__name__)

REFUSED_TRIES_MAX: Final = 5
"""How often news are sent that a target says it will never take: they must not hold up what comes behind them."""
SAVE_SECONDS: Final = 5.0
"""How often a book is written while nothing is news."""
SAVE_SHARE: Final = 20.0
"""After a delivery a book is written if its last writing is as many times as long ago as it took. A book may be large."""
STOP_SECONDS_MAX: Final = 3.0
"""How long a delivery that is under way may still take when it is told to stop. It is made again by the next run."""


class Pace(NamedTuple):
    """The waits between tries: the first, each later one twice as long, and the longest."""

    first_s: float = 1.0
    longest_s: float = 60.0

    def wait_s(self, tries: int) -> float:
        """Return how long to wait after so many tries. Targets of one host do not come back in step."""
        longest_s: float = min(self.longest_s, self.first_s * 2 ** min(tries - 1, 20))
        return longest_s * random.uniform(0.75, 1.0)


class Stopped(Exception):
    """It was told to stop before the news were delivered."""


class Teller:
    """Tells one target. `told` and `given_up` count news of this run."""

    def __init__(self, target: Target, sender: Sender, folder: Path, broker: str, prefix: str, pace: Pace) -> None:
        self.target, self._sender, self._pace = target, sender, pace
        self._broker, self._prefix = broker, prefix
        self._path = book_file.path_of(folder, target.name)
        self._trouble = Episode(logger, f"notify {target.name}", f"{target.name} takes what it is told again")
        self._away = Episode(logger, f"notify {target.name} kafka", f"{target.name} is followed again")
        self._saved_s = self._saving_s = 0.0
        self._again_s = -math.inf
        self._moved = False  # something was delivered, and is not in the book on disk
        self._stop: asyncio.Event
        self.told = self.given_up = 0

    async def run(self, stop: asyncio.Event) -> None:
        """Tell until told to stop. What goes wrong is said, and begun again from the book."""
        self._stop, tries = stop, 0
        try:
            while not stop.is_set():
                began_s = time.monotonic()
                try:
                    await self._follow()
                except Stopped:
                    return
                except Trouble as trouble:
                    self._away.begin("%s is not told of anything: %s", self.target.name, trouble.what)
                except Exception as error:
                    logger.exception("%s is not told of anything for now", self.target.name)
                    self._away.begin("%s is not told of anything: %s", self.target.name, type(error).__name__)
                tries = 1 if time.monotonic() - began_s > 10 * self._pace.longest_s else tries + 1
                await self._wait(self._pace.wait_s(tries))
        except Stopped:
            return
        finally:
            await self._sender.close()

    async def _follow(self) -> None:
        async with DecisionLog(self._broker, self._prefix) as log:
            book, begins = await self._begun(log)
            async for records in log.follow(begins, lambda words: logger.warning("%s: %s", self.target.name, words)):
                self._away.end()
                if self._stop.is_set():
                    self._save(book, 0.0)
                    raise Stopped
                await self._tell(book, records)
                await self._tell_again(book)

    async def _tell(self, book: Book, records: Sequence[Said]) -> None:
        """Tell what is news in these records. The book is written between deliveries, never with more than was delivered."""
        news: list[News] = []
        for left, record in zip(range(len(records) - 1, -1, -1), records, strict=True):
            one = book.take(record)
            if one is not None and self.target.wants(one):
                news.append(one)
            if news and (len(news) == self._sender.many or not left):
                await self._deliver(news)
                news, self._moved = [], True
                self._save(book, SAVE_SHARE * self._saving_s)
        self._save(book, SAVE_SHARE * self._saving_s if self._moved else SAVE_SECONDS)

    async def _begun(self, log: DecisionLog) -> tuple[Book, dict[TopicPartition, int]]:
        """Return the target's book, and from where to read. A target that has none begins with what is decided from now on."""
        name, (topic_id, first, ends) = self.target.name, await log.bounds()
        book = book_file.load(self._path)
        if book is None:
            book = Book(topic_id, {place.partition: ends[place] for place in ends})
            logger.info("%s is told of what happens from now on", name)
        if book.topic_id != topic_id:
            logger.error("%s: the topic %s was made anew, so what stood in the former one is not told", name, log.topic)
            book.topic_id, book.offsets = topic_id, {}
        begins = {}
        for place in sorted(first):
            at = book.offsets.get(place.partition, first[place])
            if not first[place] <= at <= ends[place]:
                logger.error("%s: %s/%d lost what %s was not told of", name, place.topic, place.partition, name)
                at = first[place] if at < first[place] else ends[place]
            begins[place] = book.offsets[place.partition] = at
        self._save(book, 0.0)
        return book, begins

    async def _deliver(self, news: Sequence[News]) -> None:
        """Deliver news, or give them up. Raises Stopped."""
        tries = 0
        while True:
            failed = await self._sent(news)
            tries += 1
            if failed is None:
                self.told += len(news)
                self._trouble.end()
                return
            name, old_ms = self.target.name, _now_ms() - max(one.time_ms for one in news)
            if old_ms > self.target.give_up_ms or (failed.refused and tries >= REFUSED_TRIES_MAX):
                self.given_up += len(news)
                logger.error("%s was not told of %s: %s. It is given up", name, ", ".join(one.id for one in news), failed)
                return
            self._trouble.begin("%s does not take what it is told: %s. It is tried again", name, failed)
            await self._wait(max(failed.after_s, self._pace.wait_s(tries)))

    async def _sent(self, news: Sequence[News]) -> Failed | None:
        """Try once; return why it failed, or None. Raises Stopped where it is told to stop before there is an answer."""
        sending = asyncio.ensure_future(self._sender.send(news, _now_ms()))
        stopping = asyncio.ensure_future(self._stop.wait())
        try:
            await asyncio.wait({sending, stopping}, return_when=asyncio.FIRST_COMPLETED)
            if not sending.done():
                await asyncio.wait({sending}, timeout=STOP_SECONDS_MAX)
            if not sending.done():
                raise Stopped
            sending.result()
        except Stopped:
            raise
        except Failed as failed:
            return failed
        except NoSecret as error:
            return Failed(str(error))
        except Exception as error:  # noqa: BLE001 - its text may hold a secret; the news are not delivered
            return Failed(type(error).__name__)
        finally:
            for task in (sending, stopping):
                task.cancel()
        return None

    async def _tell_again(self, book: Book) -> None:
        """Tell a target that forgets what is closed, as often as it needs. What fails is tried when it is due again."""
        if not self._sender.again_s or time.monotonic() - self._again_s < self._sender.again_s:
            return
        self._again_s = time.monotonic()
        closed = [one for one in book.closed() if self.target.wants(one)]
        for start in range(0, len(closed), self._sender.many):
            failed = await self._sent(closed[start : start + self._sender.many])
            if failed is not None:
                self._trouble.begin("%s does not take what it is told: %s. It is tried again", self.target.name, failed)
                return
            self._trouble.end()

    def _save(self, book: Book, seconds: float) -> None:
        """Write the book, if it was written so many seconds ago or more."""
        began_s = time.monotonic()
        if began_s - self._saved_s >= seconds:
            book_file.save(self._path, book)
            self._moved = False
            self._saved_s = time.monotonic()
            self._saving_s = self._saved_s - began_s

    async def _wait(self, seconds: float) -> None:
        """Wait. Raises Stopped where it is told to stop meanwhile."""
        try:
            async with asyncio.timeout(seconds):
                await self._stop.wait()
        except TimeoutError:
            return
        raise Stopped


def _now_ms() -> int:
    return time.time_ns() // 1_000_000
