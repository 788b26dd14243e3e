"""How news leave this process: an HTTP request, a library's call, or a record of a topic, each within a bound of time.

A sender is told and answers by returning, or raises `Failed`. Its words name no address and no secret: they may be logged.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import ssl
import threading
from collections.abc import Callable, Sequence
from typing import Any, Final, Protocol

import aiohttp
from aiokafka import AIOKafkaProducer
from aiokafka.errors import KafkaError

from failshut_console.notify import words
from failshut_console.notify.news import News
from failshut_console.notify.settings import PAGERDUTY, SEVERITIES, NoSecret, Target
from failshut_streams.kafka.address import client_options

SEND_SECONDS_MAX: Final = 10.0
"""The longest that one request may take, from the name's look-up to the answer's end."""
APPRISE_SECONDS_MAX: Final = 60.0
LINES_MAX: Final = 20
"""News in one message for people."""
ALERTS_MAX: Final = 100
AGAIN_SECONDS: Final = 60.0
"""An Alertmanager keeps alerts in memory alone. So it is told again of what is closed, as often as this."""
RETRY_AFTER_SECONDS_MAX: Final = 300.0

#: What a receiver says of a request that it will not take however often it comes.
_REFUSALS: Final = frozenset({400, 405, 406, 410, 411, 413, 414, 415, 422})

logging.getLogger("apprise").setLevel(logging.CRITICAL + 1)  # its lines may hold an address with a password


class Failed(Exception):
    """A target did not take news. `refused`: it never will. `after_s`: how long it asks us to wait, 0 where it does not say."""

    def __init__(self, why: str, refused: bool = False, after_s: float = 0.0) -> None:
        super().__init__(why)
        self.refused, self.after_s = refused, after_s


class Sender(Protocol):
    """Takes news to one target."""

    many: int
    """How much it takes at once."""
    again_s: float
    """How often it is told again of all that is closed; 0: never."""

    async def send(self, news: Sequence[News], now_ms: int) -> None:
        """Deliver news. Raises Failed or NoSecret; whatever else it raises counts as failed, too."""

    async def close(self) -> None:
        """Give back what it holds."""


class HttpSender:
    """Posts to a webhook, Slack, PagerDuty or an Alertmanager. A redirection is not followed: it would take secrets along."""

    def __init__(self, target: Target) -> None:
        self._target = target
        self._session: aiohttp.ClientSession | None = None
        self.many = {"slack": LINES_MAX, "alertmanager": ALERTS_MAX}.get(target.kind, 1)
        self.again_s = AGAIN_SECONDS if target.kind == "alertmanager" else 0.0
        authority = target.texts.get("ca", "")
        try:
            self._tls = ssl.create_default_context(cafile=authority or None)
        except OSError as error:
            raise ValueError(f"{target.name}: ca: {authority} is no file of certificates ({type(error).__name__})") from None

    async def send(self, news: Sequence[News], now_ms: int) -> None:
        """Post news. Raises Failed or NoSecret."""
        url, body, headers = self._request(news, now_ms)
        if self._session is None:
            self._session = aiohttp.ClientSession(timeout=aiohttp.ClientTimeout(total=SEND_SECONDS_MAX))
        try:
            async with self._session.post(
                url,
                data=body,
                headers={"user-agent": "failshut-notify", **headers},
                ssl=self._tls,
                proxy=self._target.texts.get("proxy"),
                allow_redirects=False,
            ) as answer:
                status, after = answer.status, answer.headers.get("retry-after", "")
        except (aiohttp.ClientError, TimeoutError, OSError, ValueError) as error:
            raise Failed(type(error).__name__) from None  # its text may hold the address
        if not 200 <= status < 300:
            wait_s = min(float(after), RETRY_AFTER_SECONDS_MAX) if after.isascii() and after.isdigit() else 0.0
            raise Failed(f"HTTP {status}", refused=status in _REFUSALS, after_s=wait_s)

    def _request(self, news: Sequence[News], now_ms: int) -> tuple[str, bytes, dict[str, str]]:
        target = self._target
        json, severity = {"content-type": "application/json"}, target.texts.get("severity", SEVERITIES[0])
        if target.kind == "slack":
            return target.setting("url"), words.slack(news), json
        if target.kind == "pagerduty":
            body = words.pagerduty(news[0], target.setting("routing_key"), severity)
            return target.setting("url", PAGERDUTY), body, json
        token = target.setting("token")
        bearer = {"authorization": f"Bearer {token}"} if token else {}
        if target.kind == "alertmanager":
            url = target.setting("url").rstrip("/") + "/api/v2/alerts"
            return url, words.alerts(news, severity, now_ms), json | bearer
        return target.setting("url"), words.cloud_event(news[0]), {"content-type": "application/cloudevents+json", **bearer}

    async def close(self) -> None:
        """Close its connections."""
        if self._session is not None:
            await self._session.close()
            self._session = None


class AppriseSender:
    """Hands lines for people to apprise, which knows mail and a hundred services. It calls in a thread of its own."""

    def __init__(self, target: Target) -> None:
        self._target, self._busy = target, False
        self.many, self.again_s = LINES_MAX, 0.0
        self._made()

    async def send(self, news: Sequence[News], now_ms: int) -> None:
        """Hand news over. Raises Failed, also while an earlier call still hangs, or NoSecret."""
        if self._busy:
            raise Failed("the call before has not come back")
        made, body, heading = self._made(), words.lines(news), words.heading(list(news))
        if not await asyncio.wait_for(self._called(lambda: made.notify(body=body, title=heading)), APPRISE_SECONDS_MAX):
            raise Failed("apprise could not deliver it")

    async def close(self) -> None:
        """Hold nothing."""

    def _made(self) -> Any:
        import apprise

        made = apprise.Apprise()
        if not made.add(self._target.setting("url")):
            raise Failed("apprise knows no such address")
        return made

    def _called(self, call: Callable[[], Any]) -> asyncio.Future[Any]:
        """Call in a thread that keeps nobody from ending."""
        loop = asyncio.get_running_loop()
        future: asyncio.Future[Any] = loop.create_future()
        self._busy = True

        def said(answer: Any) -> None:
            self._busy = False
            if not future.done():
                future.set_result(answer)

        def run() -> None:
            answer = None
            try:
                answer = call()
            finally:
                with contextlib.suppress(RuntimeError):  # the loop has ended
                    loop.call_soon_threadsafe(said, answer)

        threading.Thread(target=run, name="apprise", daemon=True).start()
        return future


class TopicSender:
    """Writes CloudEvents to a topic, with the gate's name as key."""

    def __init__(self, target: Target, broker: str) -> None:
        self._target, self._broker = target, broker
        self.many, self.again_s = 1, 0.0
        self._producer: AIOKafkaProducer | None = None

    async def send(self, news: Sequence[News], now_ms: int) -> None:
        """Write news, and wait until all replicas have them. Raises Failed or NoSecret."""
        try:
            async with asyncio.timeout(SEND_SECONDS_MAX):
                producer = self._producer or await self._started()
                for one in news:
                    headers = [("content-type", b"application/cloudevents+json")]
                    topic, key = self._target.texts["topic"], one.gate.encode()
                    await producer.send_and_wait(topic, words.cloud_event(one), key, headers=headers)
        except (KafkaError, TimeoutError, OSError, ValueError) as error:
            await self.close()
            raise Failed(type(error).__name__) from None

    async def _started(self) -> AIOKafkaProducer:
        options = client_options(self._target.setting("broker") or self._broker)
        producer = AIOKafkaProducer(**options, acks="all", request_timeout_ms=int(SEND_SECONDS_MAX * 1000))
        try:
            await producer.start()
        except BaseException:
            await producer.stop()
            raise
        self._producer = producer
        return producer

    async def close(self) -> None:
        """Leave the broker. What was not acknowledged is sent again."""
        producer, self._producer = self._producer, None
        if producer is not None:
            with contextlib.suppress(KafkaError, TimeoutError, OSError):
                async with asyncio.timeout(SEND_SECONDS_MAX):
                    await producer.stop()


def sender_for(target: Target, broker: str) -> Sender:
    """Return what takes news to a target. Raises ValueError for a target that cannot be meant."""
    if target.kind == "topic":
        return TopicSender(target, broker)
    if target.kind != "apprise":
        return HttpSender(target)
    try:
        return AppriseSender(target)
    except (Failed, NoSecret) as error:
        raise ValueError(f"{target.name}: {error}") from None
