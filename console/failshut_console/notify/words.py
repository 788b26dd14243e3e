"""How each kind of receiver reads news: as a CloudEvent, as an alert, or as lines for people. Pure."""

from __future__ import annotations

import json
from collections.abc import Iterable
from typing import Any, Final

from failshut_console.notify.news import News
from failshut_console.terminal.times import utc
from failshut_streams.logs.episode import length

ALERT: Final = "FailshutGateClosed"
ALERT_LIFE_MS: Final = 7 * 86_400_000
"""An Alertmanager takes silence for an end. So an alert is said to end long after it is said again."""
PAGERDUTY_KEY_MAX: Final = 255


def title(news: News) -> str:
    """Return news in a few words.

    >>> title(News("pay@7/closed", "i", "pay", "closed", "7", 0, "lock", "an operator has locked the gate"))
    'pay is CLOSED: an operator has locked the gate'
    """
    if news.event == "opened":
        after = f" after {length((news.time_ms - news.closed_ms) / 1000)}" if news.closed_ms else ""
        return f"{news.gate} is OPEN{after}"
    return f"{news.gate} is CLOSED" + (f": {news.meaning}" if news.meaning else "")


def line(news: News) -> str:
    """Return news in one line, with all that a person on call asks first."""
    parts = [f"{utc(news.time_ms)} {title(news)}"]
    if news.because:
        parts.append(news.because)
    if news.who:
        parts.append(f"by {news.who}" + (f": {news.why}" if news.why else ""))
    return ". ".join([*parts, f"failshut log {news.gate} (epoch {news.epoch})"])


def lines(news: Iterable[News]) -> str:
    """Return news in a line each."""
    return "\n".join(line(one) for one in news)


def heading(news: list[News]) -> str:
    """Return the subject of a mail: the news, or how many there are."""
    if len(news) == 1:
        return title(news[0])
    closed = sum(one.event == "closed" for one in news)
    return f"Failshut: {closed} gates closed, {len(news) - closed} opened"


def cloud_event(news: News) -> bytes:
    """Return news as a CloudEvent 1.0 in structured JSON."""
    return json.dumps(
        {
            "specversion": "1.0",
            "id": news.id,
            "source": f"/failshut/{news.installation}",
            "type": f"failshut.gate.{news.event}",
            "subject": news.gate,
            "time": utc(news.time_ms, "milliseconds"),
            "datacontenttype": "application/json",
            "data": news.as_json(),
        }
    ).encode()


def slack(news: Iterable[News]) -> bytes:
    """Return news as a message of Slack's incoming webhooks, in which nothing that others wrote is a link or a mention."""
    text = lines(news)
    for character, entity in (("&", "&amp;"), ("<", "&lt;"), (">", "&gt;")):
        text = text.replace(character, entity)
    return json.dumps({"text": text}).encode()


def pagerduty(news: News, routing_key: str, severity: str) -> bytes:
    """Return news as an event of PagerDuty's Events API v2: one incident for each gate, which its opening resolves."""
    event: dict[str, Any] = {
        "routing_key": routing_key,
        "event_action": "trigger" if news.event == "closed" else "resolve",
        "dedup_key": f"failshut/{news.installation}/{news.gate}"[:PAGERDUTY_KEY_MAX],
    }
    if news.event == "closed":
        event["payload"] = {
            "summary": title(news),
            "source": f"failshut {news.installation}",
            "severity": severity,
            "timestamp": utc(news.time_ms, "milliseconds"),
            "component": news.gate,
            "class": news.cause,
            "custom_details": news.as_json(),
        }
    return json.dumps(event).encode()


def alerts(news: Iterable[News], severity: str, now_ms: int) -> bytes:
    """Return news as alerts of Alertmanager's API v2: a closing begins one, and the opening ends it."""
    return json.dumps([_alert(one, severity, now_ms) for one in news]).encode()


def _alert(news: News, severity: str, now_ms: int) -> dict[str, Any]:
    opened = news.event == "opened"
    return {
        "labels": {"alertname": ALERT, "gate": news.gate, "installation": news.installation, "severity": severity},
        "annotations": {"summary": title(news), "description": line(news), "cause": news.cause, "id": news.id},
        "startsAt": utc((news.closed_ms or news.time_ms) if opened else news.time_ms, "milliseconds"),
        "endsAt": utc(news.time_ms if opened else now_ms + ALERT_LIFE_MS, "milliseconds"),
    }
