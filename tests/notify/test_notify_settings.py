"""A file of targets says what is meant, or is refused; no secret stands in it, and none in what is said of it."""

from __future__ import annotations

from pathlib import Path

import pytest

from failshut_console.notify.news import News
from failshut_console.notify.senders import sender_for
from failshut_console.notify.settings import BadTargets, NoSecret, Target, read_targets

SECRET = "xoxb-very-secret"


@pytest.fixture
def secret(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A file with an address that is a secret; the same stands in SLACK_URL."""
    path = tmp_path / "secret"
    path.write_text(f"https://hooks.example/{SECRET}\n")
    monkeypatch.setenv("SLACK_URL", path.read_text())
    return path


def one(text: str) -> Target:
    (target,) = read_targets(f"[[target]]\n{text}".encode())
    return target


def test_every_kind_is_read(secret: Path) -> None:
    """Each has what it needs, and what takes news to it."""
    text = f"""
    [[target]]
    name = "hook"
    kind = "webhook"
    url = "http://127.0.0.1:9/hook"
    token_file = "{secret}"
    gates = ["payments.*", "fleet.scale"]
    on = ["closed"]
    give_up = "3d"
    [[target]]
    name = "channel"
    kind = "slack"
    url_env = "SLACK_URL"
    [[target]]
    name = "on-call"
    kind = "pagerduty"
    routing_key_file = "{secret}"
    severity = "error"
    [[target]]
    name = "alerts"
    kind = "alertmanager"
    url = "http://127.0.0.1:9093"
    [[target]]
    name = "mail"
    kind = "apprise"
    url_file = "{secret}"
    [[target]]
    name = "bus"
    kind = "topic"
    topic = "gates.changed"
    """
    targets = read_targets(text.encode(), "")
    assert [target.name for target in targets] == ["hook", "channel", "on-call", "alerts", "mail", "bus"]
    hook = targets[0]
    assert (hook.give_up_ms, hook.setting("url"), SECRET in hook.setting("token")) == (
        259_200_000,
        "http://127.0.0.1:9/hook",
        True,
    )
    closed = News("pay@1/closed", "i", "payments.refund", "closed", "1", 0)
    assert hook.wants(closed)
    assert not hook.wants(News("x@1/closed", "i", "other", "closed", "1", 0))
    assert not hook.wants(News("pay@2/opened", "i", "payments.refund", "opened", "2", 0))
    secret.write_text(f"json://127.0.0.1/{SECRET}")
    assert [sender_for(target, "kafka://127.0.0.1:9092").many for target in targets] == [1, 20, 1, 100, 20, 1]
    assert SECRET not in repr(targets)


WRONG = {
    "no kind": 'name = "a"',
    "another kind": 'name = "a"\nkind = "fax"',
    "no name": 'kind = "webhook"\nurl = "http://h/"',
    "a name that is a path": 'name = "../a"\nkind = "webhook"\nurl = "http://h/"',
    "an unknown setting": 'name = "a"\nkind = "webhook"\nurl = "http://h/"\nretries = 3',
    "a setting of another kind": 'name = "a"\nkind = "webhook"\nurl = "http://h/"\nseverity = "info"',
    "no address": 'name = "a"\nkind = "webhook"',
    "two addresses": 'name = "a"\nkind = "webhook"\nurl = "http://h/"\nurl_env = "SLACK_URL"',
    "an address of a file": 'name = "a"\nkind = "webhook"\nurl = "file:///etc/passwd"',
    "an address with a login": f'name = "a"\nkind = "webhook"\nurl = "http://me:{SECRET}@h/"',
    "a blank in an address": 'name = "a"\nkind = "webhook"\nurl = "http://h/ x"',
    "a secret in the file": f'name = "a"\nkind = "slack"\nurl = "https://h/{SECRET}"',
    "a key in the file": f'name = "a"\nkind = "pagerduty"\nrouting_key = "{SECRET}"',
    "no key": 'name = "a"\nkind = "pagerduty"',
    "a file that is not there": 'name = "a"\nkind = "slack"\nurl_file = "/nowhere/at/all"',
    "a variable that is not set": 'name = "a"\nkind = "slack"\nurl_env = "NOT_SET_HERE"',
    "a number": 'name = "a"\nkind = "webhook"\nurl = 7',
    "no list": 'name = "a"\nkind = "webhook"\nurl = "http://h/"\ngates = "*"',
    "an empty list": 'name = "a"\nkind = "webhook"\nurl = "http://h/"\non = []',
    "an event that there is not": 'name = "a"\nkind = "webhook"\nurl = "http://h/"\non = ["lapsed"]',
    "half an alert": 'name = "a"\nkind = "alertmanager"\nurl = "http://h/"\non = ["closed"]',
    "no duration": 'name = "a"\nkind = "webhook"\nurl = "http://h/"\ngive_up = "never"',
    "a severity that there is not": 'name = "a"\nkind = "alertmanager"\nurl = "http://h/"\nseverity = "bad"',
    "no topic": 'name = "a"\nkind = "topic"',
    "what a monitor reads": 'name = "a"\nkind = "topic"\ntopic = "telemetry"',
    "what a monitor writes": 'name = "a"\nkind = "topic"\ntopic = "decisions"\nbroker_env = "SLACK_URL"',
}


@pytest.mark.parametrize("case", WRONG)
def test_what_cannot_be_meant_is_refused(secret: Path, case: str) -> None:
    """It says what is wrong, of which target, and quotes no secret."""
    with pytest.raises(BadTargets) as refused:
        one(WRONG[case])
    assert SECRET not in str(refused.value)
    assert str(refused.value).startswith(("a: ", "target 1: "))


@pytest.mark.parametrize("content", [b"", b"\xff", b"target = 7", b"[[target]]\n[other]", b"x" * 300_000, b"[[target]]\n" * 20])
def test_what_is_no_file_of_targets_is_refused(content: bytes) -> None:
    """As a whole."""
    with pytest.raises(BadTargets):
        read_targets(content)


def test_two_of_one_name_are_refused(secret: Path) -> None:
    """A target's name is its book's."""
    text = b'[[target]]\nname = "a"\nkind = "webhook"\nurl = "http://h/"\n'
    with pytest.raises(BadTargets, match="two targets"):
        read_targets(text + text)


def test_a_secret_is_read_when_it_is_needed(secret: Path) -> None:
    """A new one counts at once; one that is gone is said, without what it was."""
    target = one(f'name = "a"\nkind = "slack"\nurl_file = "{secret}"')
    secret.write_text("https://hooks.example/another")
    assert target.setting("url") == "https://hooks.example/another"
    secret.unlink()
    with pytest.raises(NoSecret) as gone:
        target.setting("url")
    assert SECRET not in str(gone.value)


def test_a_target_that_cannot_be_reached_is_refused(secret: Path) -> None:
    """A file of certificates that is none, an address that apprise does not know."""
    with pytest.raises(ValueError, match="ca: "):
        sender_for(one(f'name = "a"\nkind = "webhook"\nurl = "https://h/"\nca = "{secret}"'), "")
    secret.write_text(f"nothing://{SECRET}")
    with pytest.raises(ValueError, match="apprise knows no such address") as refused:
        sender_for(one(f'name = "a"\nkind = "apprise"\nurl_file = "{secret}"'), "")
    assert SECRET not in str(refused.value)
