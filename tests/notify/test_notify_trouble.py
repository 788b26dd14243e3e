"""What a broker that goes away costs, and what a log says of targets that fail."""

from __future__ import annotations

import logging
import time
from pathlib import Path

import pytest
from notify.receiving import Decisions, Receiver, target
from notify.telling import Told, until

from failshut_servers import Kafka, free_port


@pytest.mark.slow
@pytest.mark.kafka
def test_a_broker_that_goes_away_loses_no_news(tmp_path: Path, receiver: Receiver, suffix: str) -> None:
    """While it is away nothing is told; what was decided behind it is told, and what was told is not told again."""
    with Kafka(tmp_path / "kafka") as own:
        decisions = Decisions(own, suffix)
        (tmp_path / "told").mkdir()
        with Told(decisions, tmp_path / "told", target("hook", "webhook", url=receiver.url)).running():
            decisions.change("g0", "g1")
            until(lambda: len(receiver.taken) == 2, lambda: receiver.ids)
            own.stop()
            time.sleep(2)
            own.start()
            decisions.change("g0", "g1")
            until(lambda: len(receiver.taken) == 4, lambda: receiver.ids)
            own.kill()
            own.start()
            decisions.change("g1", "g0")
            until(lambda: len(receiver.taken) == 6, lambda: receiver.ids)
    assert sorted(receiver.ids) == sorted(decisions.expected)


def test_no_log_says_a_secret(
    decisions: Decisions,
    receiver: Receiver,
    tmp_path: Path,
    caplog: pytest.LogCaptureFixture,
    capfd: pytest.CaptureFixture[str],
) -> None:
    """Targets that fail in every way name neither an address that is a secret, nor a token."""
    caplog.set_level(logging.DEBUG)
    dead, secrets = free_port(), {"mail": "", "channel": "", "token": "very-secret-token", "gone": "very-secret"}
    secrets["mail"] = f"mailto://ada:very-secret@127.0.0.1:{dead}?from=a@example.org&to=b@example.org&mode=insecure"
    secrets["channel"] = f"http://127.0.0.1:{dead}/services/very-secret"
    for name, secret in secrets.items():
        (tmp_path / name).write_text(secret)
    tables = (
        target("mail", "apprise", url_file=str(tmp_path / "mail")),
        target("channel", "slack", url_file=str(tmp_path / "channel")),
        target("hook", "webhook", url=receiver.url, token_file=str(tmp_path / "token")),
        target("gone", "webhook", url=receiver.url, token_file=str(tmp_path / "gone")),
    )
    receiver.status = 500
    told = Told(decisions, tmp_path, *tables)
    with told.running():
        (tmp_path / "channel").write_text("http://[very-secret")  # a secret that became none
        (tmp_path / "token").write_text("very-secret\nInjected: header")
        (tmp_path / "gone").unlink()
        decisions.change("g0")

        def said() -> list[str]:
            return [record.getMessage() for record in caplog.records if "does not take" in record.getMessage()]

        until(lambda: len(said()) == 4, said)
    everything = caplog.text + "".join(capfd.readouterr())
    assert "very-secret" not in everything
    assert "Injected" not in everything
    assert not [one for one in receiver.headers if "Injected" in one]
