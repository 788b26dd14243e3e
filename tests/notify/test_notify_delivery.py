"""News reach every target at least once, in order, whatever happens to it; and no target waits for another."""

from __future__ import annotations

import json
import logging
import os
import shutil
import signal
import subprocess
import sys
import time
import urllib.request
from functools import partial
from pathlib import Path
from typing import Any

import pytest
from confluent_kafka import Consumer
from confluent_kafka.admin import NewTopic
from notify.receiving import Decisions, MailServer, Receiver, target, written
from notify.telling import Told, until
from patience import patient

from failshut_console.exits import Trouble
from failshut_console.notify import senders, teller
from failshut_console.notify.book_file import load, path_of
from failshut_console.notify.running import run, try_once
from failshut_servers import Kafka, free_port


def test_each_closing_and_opening_is_told_once_and_in_order(decisions: Decisions, receiver: Receiver, tmp_path: Path) -> None:
    """Copies, renewals and what happened before are not; a restart goes on where it was."""
    decisions.change("g0", "g1")
    decisions.expected.clear()
    tables = target("hook", "webhook", url=receiver.url)
    with Told(decisions, tmp_path, tables).running():
        decisions.renew("g0", 50)
        decisions.change("g0", "g1", copies=2)
        decisions.write(b"no decision")
        decisions.change("g0", "g0", copies=3)
        until(lambda: len(receiver.taken) == 4, lambda: receiver.ids)
    decisions.change("g1", "g0")
    with Told(decisions, tmp_path, tables).running():
        until(lambda: len(receiver.taken) == 6, lambda: receiver.ids)
        decisions.change("g1", copies=2)
        until(lambda: len(receiver.taken) == 7, lambda: receiver.ids)
    assert sorted(receiver.ids) == sorted(decisions.expected)
    for gate in ("g0", "g1"):
        assert [one for one in receiver.ids if one.startswith(gate)] == decisions.expected_of(gate)
    assert receiver.headers[0]["content-type"] == "application/cloudevents+json"


def test_a_target_that_is_down_slow_or_ill_loses_nothing(
    decisions: Decisions, receiver: Receiver, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """Down, 500, slow, 429, and well again: everything came, in order; what came twice has the same id. It is said once."""
    monkeypatch.setattr(senders, "SEND_SECONDS_MAX", 0.5)
    caplog.set_level(logging.INFO)
    with Told(decisions, tmp_path, target("hook", "webhook", url=receiver.url)).running():
        receiver.down()
        decisions.change("g0", "g2")
        time.sleep(0.5)
        receiver.status = 500
        receiver.up()
        until(lambda: len(receiver.heard) > 2)
        receiver.status, receiver.slow_s = 200, 2.0
        heard = len(receiver.heard)
        until(lambda: len(receiver.heard) > heard + 1)
        decisions.change("g2", "g0")
        receiver.status, receiver.slow_s, receiver.answer_headers = 429, 0.0, {"retry-after": "1"}
        heard = len(receiver.heard)
        until(lambda: len(receiver.heard) > heard)
        receiver.answer_headers, receiver.status = {}, 200
        until(lambda: len(set(receiver.ids)) == 4, lambda: (receiver.ids, receiver.status))
    heard_first = list(dict.fromkeys(one["id"] for one in receiver.heard))
    assert heard_first == decisions.expected
    assert len(receiver.heard) > 8  # some came again and again, under the same ids
    assert {one["id"] for one in receiver.heard} == set(decisions.expected)
    lines = [record.getMessage() for record in caplog.records if "hook" in record.getMessage()]
    assert sum("does not take what it is told" in line for line in lines) == 1, lines
    assert sum("takes what it is told again" in line for line in lines) == 1, lines


def test_a_dead_target_holds_up_no_other(decisions: Decisions, receiver: Receiver, tmp_path: Path) -> None:
    """Each reads the topic for itself. The dead one is told when it is back, of all that it missed."""
    dead = Receiver()
    tables = target("dead", "webhook", url=dead.url), target("hook", "webhook", url=receiver.url)
    with Told(decisions, tmp_path, *tables).running():
        for _ in range(5):
            decisions.change("g0", "g1", "g3")
        until(lambda: len(receiver.taken) == 15, lambda: receiver.ids)
        assert not dead.taken
        dead.up()
        try:
            until(lambda: len(dead.taken) == 15, lambda: dead.ids)
        finally:
            dead.down()
    assert sorted(dead.ids) == sorted(receiver.ids) == sorted(decisions.expected)


def test_what_nobody_will_ever_take_is_given_up(
    decisions: Decisions, receiver: Receiver, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """After so many refusals, or past its time. It is said by name, and what comes behind is told."""
    told = Told(decisions, tmp_path, target("hook", "webhook", url=receiver.url, give_up="2s"))
    with told.running():
        receiver.status = 400
        decisions.change("g0")
        until(lambda: told.tellers[0].given_up == 1)
        assert len(receiver.heard) == teller.REFUSED_TRIES_MAX
        receiver.status = 503
        decisions.change("g0")
        until(lambda: told.tellers[0].given_up == 2)
        receiver.status = 200
        decisions.change("g0")
        until(lambda: len(receiver.taken) == 1)
    assert receiver.ids == decisions.expected[2:]
    given_up = [record.getMessage() for record in caplog.records if "given up" in record.getMessage()]
    assert [decisions.expected[0] in given_up[0], decisions.expected[1] in given_up[1], len(given_up)] == [True, True, 2]


def test_a_redirection_takes_no_secret_along(decisions: Decisions, receiver: Receiver, tmp_path: Path) -> None:
    """It is not followed, and nothing is taken as delivered."""
    elsewhere = Receiver().up()
    (tmp_path / "token").write_text("very-secret")
    table = target("hook", "webhook", url=receiver.url, token_file=str(tmp_path / "token"))
    with Told(decisions, tmp_path, table).running():
        receiver.status, receiver.answer_headers = 307, {"location": elsewhere.url}
        decisions.change("g0")
        until(lambda: len(receiver.heard) > 1)
        receiver.status, receiver.answer_headers = 202, {}
        until(lambda: len(receiver.taken) == 1)
    elsewhere.down()
    assert not elsewhere.heard
    assert receiver.headers[0]["authorization"] == "Bearer very-secret"


def test_slack_is_told_of_many_at_once(decisions: Decisions, receiver: Receiver, tmp_path: Path) -> None:
    """Fifty gates that close together are a few messages, and each stands in one of them. PagerDuty has one for each gate."""
    (tmp_path / "url").write_text(receiver.url)
    (tmp_path / "key").write_text("routing-key")
    pager = Receiver().up()
    tables = (
        target("channel", "slack", url_file=str(tmp_path / "url")),
        target("on-call", "pagerduty", routing_key_file=str(tmp_path / "key"), url=pager.url, gates=["g1*"]),
    )
    with Told(decisions, tmp_path, *tables).running():
        receiver.down()
        decisions.change(*(f"g{number}" for number in range(50)))
        time.sleep(0.5)
        receiver.up()
        until(lambda: sum(len(one["text"].splitlines()) for one in receiver.taken) == 50)
        until(lambda: len(pager.taken) == 11)
    pager.down()
    assert len(receiver.taken) < 15
    assert {one["routing_key"] for one in pager.taken} == {"routing-key"}
    assert {one["event_action"] for one in pager.taken} == {"trigger"}
    assert len({one["dedup_key"] for one in pager.taken}) == 11


def test_a_topic_gets_cloud_events(decisions: Decisions, kafka: Kafka, suffix: str, tmp_path: Path) -> None:
    """On a real Kafka: once each, by the gate's name, also if the topic comes later than the news."""
    name = f"changed-{suffix}"
    with Told(decisions, tmp_path, target("bus", "topic", topic=name)).running():
        decisions.change("g0", "g1", "g0")
        decisions.admin.create_topics([NewTopic(name, 1, 1)])[name].result(patient(30))
        consumer = Consumer({"bootstrap.servers": kafka.bootstrap, "group.id": suffix, "auto.offset.reset": "earliest"})
        consumer.subscribe([name])
        found: list[Any] = []

        def all_of_them() -> bool:
            message = consumer.poll(0.2)
            if message is not None and message.error() is None:
                found.append(message)
            return len(found) == 3

        until(all_of_them, lambda: found)
    consumer.close()
    assert sorted(json.loads(one.value())["id"] for one in found) == sorted(decisions.expected)
    assert {(one.key(), json.loads(one.value())["subject"]) for one in found} == {(b"g0", "g0"), (b"g1", "g1")}
    assert dict(found[0].headers())["content-type"] == b"application/cloudevents+json"


def test_mail_goes_through_apprise(decisions: Decisions, tmp_path: Path) -> None:
    """As a mail that says what it is about."""
    server = MailServer()
    (tmp_path / "url").write_text(
        f"mailto://127.0.0.1:{server.port}?from=failshut@example.org&to=ada@example.org&mode=insecure"
    )
    with Told(decisions, tmp_path, target("mail", "apprise", url_file=str(tmp_path / "url"))).running():
        decisions.change("g0")
        until(lambda: server.mails)
    server.close()
    assert "g0 is CLOSED" in server.mails[0]
    assert "ada@example.org" in server.mails[0]


def test_an_alertmanager_has_an_alert_until_the_gate_opens(
    decisions: Decisions, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A real one, killed in the middle: it is told again of what is closed, since it remembers nothing."""
    program = shutil.which("prometheus-alertmanager") or shutil.which("alertmanager")
    if program is None:
        pytest.skip("Alertmanager is not installed here (apt-get install prometheus-alertmanager)")
    monkeypatch.setattr(senders, "AGAIN_SECONDS", 0.5)
    port = free_port()
    (tmp_path / "am.yml").write_text("route: {receiver: nobody}\nreceivers: [{name: nobody}]\n")
    command = [program, f"--config.file={tmp_path}/am.yml", f"--storage.path={tmp_path}/am", "--cluster.listen-address="]

    def started() -> subprocess.Popen[bytes]:
        return subprocess.Popen([*command, f"--web.listen-address=127.0.0.1:{port}"], stderr=subprocess.DEVNULL)

    def firing() -> set[str]:
        try:
            with urllib.request.urlopen(f"http://127.0.0.1:{port}/api/v2/alerts", timeout=patient(5)) as answer:
                return {
                    one["labels"]["gate"] for one in json.load(answer) if one["labels"]["alertname"] == "FailshutGateClosed"
                }
        except OSError:
            return {"it does not answer"}

    server = started()
    try:
        until(lambda: firing() == set())
        with Told(decisions, tmp_path, target("alerts", "alertmanager", url=f"http://127.0.0.1:{port}")).running():
            decisions.change("g0", "g1")
            until(lambda: firing() == {"g0", "g1"}, firing)
            server.kill()
            server.wait()
            decisions.change("g1")
            server = started()
            until(lambda: firing() == {"g0"}, firing)
            decisions.change("g0")
            until(lambda: firing() == set(), firing)
    finally:
        server.kill()
        server.wait()


def command(decisions: Decisions, folder: Path, file: Path) -> list[str]:
    said = [sys.executable, "-m", "failshut_console", "notify", "run", str(file), "--books", str(folder / "books")]
    return [*said, "--broker", decisions.kafka.url, "--prefix", decisions.prefix]


def environment(**more: str) -> dict[str, str]:
    return {**{name: value for name, value in os.environ.items() if not name.startswith("FAILSHUT_")}, **more}


def _more_than(found: list[Any], count: int) -> bool:
    return len(found) > count


def test_the_command_is_killed_and_goes_on(decisions: Decisions, receiver: Receiver, tmp_path: Path) -> None:
    """Under SIGKILL nothing is lost, and what comes twice has the same id. SIGTERM ends it with 0. No secret is said."""
    table = target("hook", "webhook", url=receiver.url, token_env="HOOK_TOKEN")
    file = written(tmp_path / "targets.toml", table)
    told = environment(HOOK_TOKEN="very-secret-token")
    log = (tmp_path / "log").open("wb")

    def started() -> subprocess.Popen[bytes]:
        return subprocess.Popen(command(decisions, tmp_path, file), cwd=tmp_path, env=told, stderr=log, stdout=log)

    process = started()
    try:
        until(lambda: path_of(tmp_path / "books", "hook").exists() or process.poll() is not None)
        for round_ in range(2):
            receiver.status, heard = 500 if round_ else 200, len(receiver.heard)
            for _ in range(20):
                decisions.change("g0", "g1")
            # In the second round one delivery is tried again and again, and never taken.
            until(partial(_more_than, receiver.heard, heard + 3))
            process.kill()
            process.wait()
            receiver.status = 200
            process = started()
        until(lambda: set(receiver.ids) == set(decisions.expected), lambda: receiver.ids)
        process.send_signal(signal.SIGTERM)
        assert process.wait(patient(30)) == 0
    finally:
        process.kill()
        process.wait()
        log.close()
    assert set(receiver.ids) == set(decisions.expected)
    first_seen = list(dict.fromkeys(one for one in receiver.ids if one.startswith("g0@")))
    assert first_seen == decisions.expected_of("g0")
    said = (tmp_path / "log").read_text()
    assert "hook was told of" in said
    assert "very-secret-token" not in said


def test_one_process_tells_from_a_folder(decisions: Decisions, receiver: Receiver, tmp_path: Path) -> None:
    """A second one is refused; a wrong prefix, a book that is none and a file that is none are said."""
    file = written(tmp_path / "targets.toml", target("hook", "webhook", url=receiver.url))
    books = tmp_path / "books"
    with pytest.raises(Trouble, match=r"there is no topic nobody\.decisions"):
        run(file, books, decisions.kafka.url, "nobody.")
    process = subprocess.Popen(command(decisions, tmp_path, file), cwd=tmp_path, env=environment(), stderr=subprocess.DEVNULL)
    try:
        until(lambda: path_of(books, "hook").exists())
        with pytest.raises(Trouble, match="another process"):
            run(file, books, decisions.kafka.url, decisions.prefix)
    finally:
        process.terminate()
        process.wait()
    path_of(books, "hook").write_text("{}")
    with pytest.raises(Trouble, match="says nothing that can be read"):
        run(file, books, decisions.kafka.url, decisions.prefix)
    with pytest.raises(Trouble, match="nowhere"):
        run(tmp_path / "nowhere", books, decisions.kafka.url, decisions.prefix)


def test_another_topic_of_the_same_name_is_said(
    decisions: Decisions, receiver: Receiver, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """A topic that was made anew is told of from its beginning; nothing that was told is told again."""
    tables = target("hook", "webhook", url=receiver.url)
    with Told(decisions, tmp_path, tables).running():
        decisions.change("g0", "g0")
        until(lambda: len(receiver.taken) == 2)
    decisions.admin.delete_topics([decisions.name])[decisions.name].result(patient(30))
    until(lambda: decisions.name not in decisions.admin.list_topics(timeout=patient(10)).topics)
    decisions.make()
    decisions.change("g0")
    with Told(decisions, tmp_path, tables).running():
        until(lambda: len(receiver.taken) == 3, lambda: receiver.ids)
    assert receiver.ids == decisions.expected
    assert any("was made anew" in record.getMessage() for record in caplog.records)
    book = load(path_of(tmp_path / "books", "hook"))
    assert book is not None
    assert book.offsets == {0: 1, 1: 0}


def test_a_try_says_which_target_takes_what(receiver: Receiver, tmp_path: Path) -> None:
    """It needs no Kafka; who does not answer is named, without an address that is a secret."""
    (tmp_path / "url").write_text(f"http://127.0.0.1:{free_port()}/very-secret")
    file = written(
        tmp_path / "targets.toml",
        target("hook", "webhook", url=receiver.url),
        target("channel", "slack", url_file=str(tmp_path / "url")),
    )
    assert try_once(file, "", "", "") == [("hook", ""), ("channel", "ClientConnectorError")]
    assert [one["type"] for one in receiver.taken] == ["failshut.gate.closed", "failshut.gate.opened"]
    receiver.status = 403
    assert try_once(file, "", "", "hook") == [("hook", "HTTP 403")]
    with pytest.raises(Trouble, match="has no target nobody"):
        try_once(file, "", "", "nobody")
