"""Every command of the command line, as the users of docker/ run it: what each must be able to do, and what it must not.

The servers are real and have exactly the rights that docker/ gives. The commands' environment is that of the compose file's
services. So the first steps here are those of `docker compose up`, to an open gate.
"""

from __future__ import annotations

import re
import shlex
import subprocess
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from console.console_support import Failshut, failshut
from docker.compose_support import COMPOSE, DOCKER, Ended, Installation, servers
from notify.receiving import Receiver, target, written
from patience import patient

from failshut import Gate, Guard, Withheld
from failshut.config import from_environment
from failshut_console.app import COMMANDS

__all__ = ["failshut"]
pytestmark = [pytest.mark.slow, pytest.mark.kafka, pytest.mark.store]

GATE = "payments.refund"
BEAT = "heartbeat:refund-agent"
POLICIES = str(DOCKER / "policies")
WHY = ("--why", "a test", "--wait", "60")

#: Commands that ask no server, or bring their own; of those, tests/console/ and tests/gateway/ speak.
ALONE = {
    "demo", "up", "serve", "hold", "replay", "compare", "score", "report", "tune", "proof", "verify", "detectors", "keys",
    "access",
}  # fmt: skip
TRIED: set[str] = set()


def until(claim: Callable[[], object], what: Callable[[], str]) -> None:
    end = time.monotonic() + patient(60)
    while not claim():
        assert time.monotonic() < end, what()
        time.sleep(0.2)


@pytest.fixture(scope="module")
def there(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Installation]:
    """What `docker compose up --wait` makes: first steps, a worker that is ready, and sources that are alive."""
    with servers(tmp_path_factory.mktemp("compose")) as made:
        for line in COMPOSE["services"]["init"]["command"][0].strip().splitlines():
            ended = made.run("init", *shlex.split(made.here(line))[1:])
            assert ended.status == 0, ended.err
        worker = made.start("worker", *COMPOSE["services"]["worker"]["command"])
        log: list[str] = []
        reading = threading.Thread(target=lambda: log.extend(worker.stderr or ()))
        reading.start()
        try:
            with made.heartbeats():
                until(made.ready, lambda: made.why_not() + "".join(log[-30:]))
                yield made
        finally:
            worker.terminate()
            status = worker.wait(patient(40))
            reading.join()
        assert status == 0, "".join(log[-30:])


@pytest.fixture
def as_user(there: Installation, failshut: Failshut, monkeypatch: pytest.MonkeyPatch) -> Callable[..., Ended]:
    """Run a command as a user of docker/: a service of the compose file, or one of services.txt."""

    def run(user: str, *arguments: str) -> Ended:
        told = there.environment(user) if user in COMPOSE["services"] else there.environment_of(user)
        for name, value in told.items():
            monkeypatch.setenv(name, value)
        TRIED.add(arguments[0])
        ended = failshut(*arguments)
        for name in told:
            monkeypatch.delenv(name)
        return Ended(ended.status, ended.out, ended.err)

    return run


def epoch_of(as_user: Callable[..., Ended]) -> str:
    shown = as_user("operator", "gates", GATE).out
    return str(int(shown.split("epoch ")[1].split(",")[0]))


def test_the_first_steps_lead_to_an_open_gate(there: Installation) -> None:
    """A service of services.txt is admitted, as its own user, and its outcomes are taken."""
    guard = Guard(from_environment(**_settings(there, "refund-agent")))
    try:
        gate = Gate(GATE, guard=guard)
        until(lambda: gate.prepare(1), lambda: repr(guard.last_fault))
        with gate.execution("agent:refund-7"):
            pass
        until(lambda: guard.outcomes.ended[GATE, "ok"] == 1 and not guard.outcomes.waits, lambda: "its outcome is taken")
        foreign = Gate("fleet.scale", guard=guard)
        with pytest.raises(Withheld):
            foreign.check("agent:refund-7")
    finally:
        guard.close()


def _settings(there: Installation, service: str) -> dict[str, Any]:
    told = there.environment_of(service)
    return {
        "store_url": told["FAILSHUT_STORE"],
        "outcomes_store_url": told["FAILSHUT_OUTCOMES_STORE"],
        "jwks": told["FAILSHUT_JWKS"],
        "installation": told["FAILSHUT_INSTALLATION"],
    }


def test_an_operator_does_a_days_work(as_user: Callable[..., Ended]) -> None:
    """Each order reaches a governor and is answered by it: done, or refused for what it asks, and never for want of rights."""
    assert "OPEN" in as_user("operator", "gates", GATE).out
    assert as_user("operator", "log", GATE).status == 0
    assert "was open already" in as_user("operator", "term", "open").out
    assert as_user("operator", "policy", "activate", POLICIES).status == 0
    assert "LOCKED" in as_user("operator", "lock", GATE, *WHY).out
    until(lambda: "PROVING" in as_user("operator", "unlock", GATE, *WHY).out, lambda: "no evidence from after the lock came")
    assert "the breaker is PROVING" in as_user("operator", "reset", GATE, *WHY).err
    bypassed = as_user("operator", "bypass", GATE, "--for", "1m", "--condition", BEAT, *WHY)
    assert bypassed.status == 0, bypassed.err
    assert as_user("operator", "bypass", "--end", GATE, *WHY).status == 0
    assert "has no level" in as_user("operator", "accept", GATE, BEAT, *WHY).err
    confirmed = as_user("operator", "confirm", GATE, "--epoch", epoch_of(as_user), *WHY)
    assert "confirm refused" in confirmed.err, confirmed
    assert "no gap" in as_user("operator", "gap", "list").out
    assert as_user("operator", "gap", "accept", "telemetry", "0", "--upto", "0", "--why", "a test").status == 0
    assert "another epoch" in as_user("operator", "fence", "clear", GATE, "--epoch", "5").err
    cleared = as_user("operator", "fence", "clear", GATE, "--epoch", epoch_of(as_user))
    assert cleared.status == 0, cleared.err


def test_a_viewer_reads_everything(as_user: Callable[..., Ended], tmp_path: Path) -> None:
    """What happened, what is said now, a recording of it, and whether a policy fits what is sent."""
    assert as_user("viewer", "gates").status == 0
    assert as_user("viewer", "log", "--since", "1h").status == 0
    assert as_user("viewer", "gap", "list").status == 0
    recorded = as_user("viewer", "record", "--gate", GATE, "--output", str(tmp_path / "incident.failshut"))
    assert recorded.status == 0, recorded.err
    checked = as_user("viewer", "policy", "check", POLICIES, "--live")
    assert checked.status == 0, checked.err
    assert "in force" in as_user("viewer", "policy", "list").out
    assert f"gate: {GATE}" in as_user("viewer", "policy", "show", GATE).out
    shown = as_user("viewer", "policy", "diff", POLICIES)
    assert (shown.status, "unchanged" in shown.out) == (0, True), shown
    assert as_user("viewer", "shadow", "report").status == 0
    tried = as_user("viewer", "try", "--series", "nobody/sends")
    assert (tried.status, "there are no readings of nobody/sends" in tried.err) == (2, True), tried


def test_a_viewer_follows_what_goes_on(there: Installation, tmp_path: Path) -> None:
    """`watch`, and the ledger of decisions, run with a viewer's rights until they are told to stop."""
    ledger, key = str(tmp_path / "ledger"), str(tmp_path / "ledger.key")
    assert there.run("viewer", "ledger", "create", ledger, "--key", key, "--name", "example.org/ledger").status == 0
    witnessing, policy = _witness(there, tmp_path)
    writing = there.start("viewer", "ledger", "run", ledger, "--key", key, "--witnesses", policy)
    watching = there.start("viewer", "watch")
    try:
        assert watching.stdout is not None
        assert any(GATE in line for line in watching.stdout)
        until(lambda: (tmp_path / "ledger" / "tile").exists() or writing.poll() is not None, lambda: "decisions are written")
        assert writing.poll() is None, writing.communicate()[1]
        until(lambda: there.run("viewer", "ledger", "status", ledger, "--policy", policy).status == 0, lambda: "it is cosigned")
        writing.terminate()
        assert writing.wait(patient(30)) == 0
    finally:
        for process in (writing, watching, witnessing):
            process.kill()
            process.communicate()
    TRIED.update({"watch", "ledger", "run", "witness"})


def _witness(there: Installation, folder: Path) -> tuple[subprocess.Popen[str], str]:
    """Run a witness of the ledger in this folder; return it, and a trust policy that asks for it."""
    state, key, log = str(folder / "witness"), str(folder / "witness.key"), str(folder / "ledger.key.pub")
    made = there.run("viewer", "witness", "create", state, "--key", key, "--name", "example.org/witness")
    assert made.status == 0, made.err
    assert there.run("viewer", "witness", "add", state, log, "--key", key).status == 0
    process = there.start("viewer", "witness", "run", state, "--key", key, "--bind", "127.0.0.1:0")
    assert process.stderr is not None
    address = next(found[1] for line in process.stderr if (found := re.search(r"answers at (http\S+)", line)))
    policy = folder / "trust.policy"
    policy.write_text(f"log {Path(log).read_text().strip()}\nwitness w {made.out.strip()} {address}\nquorum w\n")
    return process, str(policy)


def test_a_viewers_login_is_enough_to_tell_others(there: Installation, as_user: Callable[..., Ended], tmp_path: Path) -> None:
    """`notify run` reads what was decided, and no more is needed: an operator's lock is told to a webhook."""
    receiver = Receiver().up()
    file = written(tmp_path / "notify.toml", target("hook", "webhook", url=receiver.url, gates=["fleet.scale"]))
    until(lambda: "OPEN" in as_user("viewer", "gates", "fleet.scale").out, lambda: "the gate does not open")
    telling = there.start("viewer", "notify", "run", str(file), "--books", str(tmp_path / "books"))
    try:
        until(lambda: (tmp_path / "books" / "hook.json").exists() or telling.poll() is not None, lambda: "it has begun")
        assert telling.poll() is None, telling.communicate()[1]
        assert as_user("operator", "lock", "fleet.scale", *WHY).status == 0
        until(lambda: receiver.taken, lambda: "the closing is told")
        telling.terminate()
        assert telling.wait(patient(30)) == 0
    finally:
        telling.kill()
        telling.communicate()
        receiver.down()
    assert (receiver.taken[0]["subject"], receiver.taken[0]["data"]["cause"]) == ("fleet.scale", "lock")
    TRIED.add("notify")


NO_TOPIC = "Kafka refuses: this login may not do that to topic"
ORDERS = (
    ("lock", GATE, *WHY), ("unlock", GATE, "--epoch", "1", *WHY), ("reset", GATE, "--epoch", "1", *WHY),
    ("bypass", GATE, "--for", "1m", "--epoch", "1", "--condition", BEAT, *WHY), ("bypass", "--end", GATE, *WHY),
    ("accept", GATE, BEAT, *WHY), ("confirm", GATE, "--epoch", "1", *WHY), ("policy", "activate", POLICIES),
    ("gap", "accept", "telemetry", "0", "--upto", "0", "--why", "a test"), ("term", "open", "--renew"),
    ("fence", "clear", GATE, "--epoch", "5"),
)  # fmt: skip


@pytest.mark.parametrize("order", ORDERS, ids=lambda order: " ".join(order[:2]))
def test_a_viewer_orders_nothing(there: Installation, as_user: Callable[..., Ended], order: tuple[str, ...]) -> None:
    """Even with an operator's key: the servers refuse. That is said, and not that they do not answer."""
    key = () if order[0] == "fence" else ("--key", str(there.folder / "keys" / "operator.pem"))
    ended = as_user("viewer", *order, *key)
    assert ended.status == 1, ended
    assert "refuses: " in ended.err
    assert "does not answer" not in ended.err
    assert "Which rights does a login need?" in ended.err


@pytest.mark.parametrize(
    ("user", "command", "words"),
    [
        (
            "operator",
            ("record", "--gate", GATE, "--output", "x.failshut"),
            NO_TOPIC,
        ),
        ("operator", ("policy", "check", POLICIES, "--live"), NO_TOPIC),
        ("operator", ("try", "--series", "refund-agent/amount_eur"), NO_TOPIC),
        ("refund-agent", ("gates",), "the store refuses: User refund-agent has no permissions"),
        ("refund-agent", ("gates", "fleet.scale"), "the store refuses: User refund-agent has no permissions"),
        ("refund-agent", ("fence", "clear", GATE, "--epoch", "5"), "the store refuses: User refund-agent has no permissions"),
    ],
    ids=lambda value: " ".join(value[:2]) if isinstance(value, tuple) else None,
)
def test_what_is_another_users_work_is_refused(
    as_user: Callable[..., Ended], user: str, command: tuple[str, ...], words: str
) -> None:
    """An operator reads no evidence; a service looks at no screen. Nothing is shown as closed that may not be seen."""
    ended = as_user(user, *command)
    assert ended.status == 1, ended
    assert words in ended.err
    assert "CLOSED" not in ended.out


def test_a_producer_writes_telemetry_and_learns_nothing(
    there: Installation, failshut: Failshut, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """Its login on Kafka shows it no decision, takes no order, and starts no worker."""
    monkeypatch.setenv("FAILSHUT_BROKER", f"kafka://producer:producer-password@127.0.0.1:{there.kafka}")
    key = ("--key", str(there.folder / "keys" / "operator.pem"))
    looked = failshut("log")
    assert (looked.status, "this login may not see it" in looked.err or "refuses" in looked.err) != (0, False), looked
    file = written(tmp_path / "notify.toml", target("hook", "webhook", url="http://127.0.0.1:9/"))
    telling = failshut("notify", "run", str(file), "--books", str(tmp_path / "books"))
    assert telling.status != 0
    assert "this login may not see it" in telling.err or "refuses" in telling.err
    ordered = failshut("lock", GATE, "--installation", there.variables["FAILSHUT_INSTALLATION"], *WHY, *key)
    assert ordered.status in (1, 3), ordered
    assert "this login may not see it" in ordered.err or "refuses" in ordered.err
    environment = {
        **there.environment("worker"),
        "FAILSHUT_BROKER": f"kafka://producer:producer-password@127.0.0.1:{there.kafka}",
    }
    monkeypatch.setattr(there, "environment", lambda _: environment)
    ended = there.run("worker", "run")
    assert ended.status == 1, ended
    assert NO_TOPIC in ended.err
    assert "Traceback" not in ended.err


def test_a_key_that_was_replaced_commands_no_more(
    there: Installation, as_user: Callable[..., Ended], failshut: Failshut
) -> None:
    """The worker follows the operators file: the new key's orders count, and the former one's do not."""
    keys = there.folder / "keys"
    file, key = ("--file", str(keys / "worker" / "operators.jwks.json")), keys / "operator.pem"
    TRIED.update(("operators", "authority"))
    assert failshut("keys", "policy", keys / "policy.pem").status == 0
    assert failshut("authority", "add", keys / "policy.pem.pub.json", "--name", "risk", *file).status == 0
    activate = ("operator", "policy", "activate", POLICIES, "--yes")
    until(lambda: "0 of 1 signatures" in as_user(*activate).err, lambda: "an operator alone still puts policies in force")
    assert failshut("authority", "end", *file).status == 0
    until(lambda: as_user(*activate).status == 0, lambda: "the authority has not ended")
    assert failshut("operators", "rotate", "--key", key, *file).status == 0
    listed = failshut("operators", "list", *file)
    assert len(listed.out.splitlines()) == 1, listed
    former = ("--key", f"{key}.former")
    until(
        lambda: as_user("operator", "lock", GATE, "--why", "with a former key", "--wait", "5", *former).status != 0,
        lambda: "the former key still counts",
    )
    ended: list[Ended] = []

    def done() -> bool:
        ended.append(as_user("operator", "lock", "payments.route", *WHY))
        return ended[-1].status == 0

    until(done, lambda: f"the new key does not count: {ended[-1]}")


def test_every_command_was_tried() -> None:
    """A new command is tried under these rights, or asks no server. (Run the file whole: the tests before fill the list.)"""
    if not TRIED:
        pytest.skip("the other tests of this file did not run")
    assert {command.name for command in COMMANDS} <= TRIED | ALONE
    assert not TRIED & ALONE
