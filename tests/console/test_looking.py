"""What the screen says of a gate, against a real store written as the monitor writes it."""

from __future__ import annotations

import json
import re
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
import redis

from failshut import Cause, Closing, Permit
from failshut.signing import SigningKey
from failshut.store.names import Names
from failshut_console.exits import Exit, Trouble
from failshut_console.monitor.gate_views import CLOSED, OPEN, UNKNOWN, Looker, View
from failshut_console.terminal import gate_table
from failshut_servers import Valkey

GATE = "payments.refund"
NAMES = Names("i" * 32)
EPOCH = "0001099511627783"


@pytest.fixture
def key(tmp_path: Path) -> SigningKey:
    made = SigningKey.generate()
    made.key_set().of(NAMES.installation).write(tmp_path / "jwks.json")
    return made


@pytest.fixture
def client(store: Valkey) -> Iterator[redis.Redis]:
    with redis.Redis.from_url(store.url) as connection:
        yield connection


def permit(**changes: object) -> Permit:
    now_ms = int(time.time() * 1000)
    given = {
        "installation": NAMES.installation,
        "gate": GATE,
        "epoch": EPOCH,
        "offset": 7,
        "partition": 0,
        "policy": "sha256:0",
        "mode": "armed",
    }
    given |= {"evidence_ms": now_ms, "nbf_ms": now_ms, "exp_ms": now_ms + 60_000, "ttl_ms": 60_000}
    return Permit(**{**given, **changes})  # type: ignore[arg-type]


def write(client: redis.Redis, token: str, px: int | None = 60_000, because: str = "2 of 2 conditions hold") -> None:
    """What the store holds after a governor has written."""
    client.sadd(NAMES.gates, GATE)
    client.set(NAMES.record(GATE), token, px=px)
    status = {
        "breaker": "ARMED",
        "because": because,
        "evidence_ms": 1,
        "epoch": EPOCH,
        "readings": [["heartbeat:x", "holds", "t"]],
    }
    client.set(NAMES.status(GATE), json.dumps(status))


def look(store: Valkey, tmp_path: Path, jwks: bool = True) -> View:
    looker = Looker(store.url, str(tmp_path / "jwks.json") if jwks else "", installation=NAMES.installation)
    try:
        (view,) = looker.look().gates
    finally:
        looker.close()
    return view


def test_a_permit_that_verifies_and_lives_is_open(store: Valkey, client: redis.Redis, key: SigningKey, tmp_path: Path) -> None:
    """OPEN, with the reason of the last decision and the life that is left."""
    write(client, permit().sign(key))
    view = look(store, tmp_path)
    assert (view.state, view.breaker, view.because) == (OPEN, "ARMED", "2 of 2 conditions hold")
    assert view.life_ms is not None
    assert 0 < view.life_ms <= 60_000


def test_a_closing_is_closed_with_its_cause(store: Valkey, client: redis.Redis, key: SigningKey, tmp_path: Path) -> None:
    """A closing's own words are shown, not the hints beside it."""
    closing = Closing(
        installation=NAMES.installation,
        gate=GATE, epoch=EPOCH, offset=7, partition=0, policy="sha256:0", cause=Cause.DRIFT, because="mean 48 to 97",
        evidence_ms=1, breaker="TRIPPED", in_flight="cancel",
    )  # fmt: skip
    write(client, closing.sign(key), px=None)
    view = look(store, tmp_path)
    assert (view.state, view.breaker, view.cause, view.because) == (CLOSED, "TRIPPED", "drift", "mean 48 to 97")


def test_a_permit_that_ran_out_is_lapsed(store: Valkey, client: redis.Redis, key: SigningKey, tmp_path: Path) -> None:
    """Without a record but with a status the gate has lapsed; without a worker the screen says so."""
    write(client, permit().sign(key))
    client.delete(NAMES.record(GATE))
    view = look(store, tmp_path)
    assert (view.state, view.cause, view.permit) == (CLOSED, "lapsed", "lapsed")
    assert view.because == "no monitor is alive"


@pytest.mark.parametrize(
    ("forge", "cause"),
    [
        (lambda key: "garbage", "unverified"),
        (lambda key: permit().sign(SigningKey.generate()), "unverified"),
        (lambda key: permit(gate="other.gate").sign(key), "foreign"),
    ],
    ids=["garbage", "another key", "another gate's"],
)
def test_what_does_not_verify_is_closed(
    store: Valkey, client: redis.Redis, key: SigningKey, tmp_path: Path, forge: Callable[[SigningKey], str], cause: Cause
) -> None:
    """A forged, damaged or foreign permit is never shown as open."""
    write(client, forge(key))
    view = look(store, tmp_path)
    assert (view.state, view.cause) == (CLOSED, cause)


def test_a_permit_that_never_expires_is_closed(store: Valkey, client: redis.Redis, key: SigningKey, tmp_path: Path) -> None:
    """A record without an expiry is not the monitor's writing, and no guard takes it."""
    write(client, permit().sign(key), px=None)
    assert look(store, tmp_path).state == CLOSED


def test_without_keys_nothing_is_known(store: Valkey, client: redis.Redis, key: SigningKey, tmp_path: Path) -> None:
    """A screen without keys shows UNKNOWN, not open."""
    write(client, permit().sign(key))
    assert look(store, tmp_path, jwks=False).state == UNKNOWN
    (tmp_path / "jwks.json").write_text("not json")
    assert look(store, tmp_path).state == UNKNOWN


def test_hints_that_cannot_be_read_hurt_nobody(store: Valkey, client: redis.Redis, key: SigningKey, tmp_path: Path) -> None:
    """A damaged status takes words from the screen, not the state."""
    write(client, permit().sign(key))
    for damaged in (b"\xff{", b"[]", b'{"readings": 3, "evidence_ms": "x"}', b'{"readings": [3, "ab"]}'):
        client.set(NAMES.status(GATE), damaged)
        assert look(store, tmp_path).state == OPEN


def test_the_age_of_evidence_is_that_of_the_oldest_partition(
    store: Valkey, client: redis.Redis, key: SigningKey, tmp_path: Path
) -> None:
    """Of several workers' reports the newest mark of each partition counts, and the oldest of those."""
    now_ms = int(time.time() * 1000)
    for name, marks in (("a", {"telemetry/0": now_ms, "telemetry/1": now_ms - 9_000}), ("b", {"telemetry/1": now_ms - 2_000})):
        said = {"id": name, "group": "g", "evidence": marks}
        client.set(NAMES.worker(name), json.dumps(said), px=5_000)
    found = Looker(store.url, installation=NAMES.installation).look()
    assert found.evidence_ms == now_ms - 2_000
    assert len(found.workers) == 2


def test_an_open_transaction_is_named_as_what_evidence_waits_for(
    store: Valkey, client: redis.Redis, key: SigningKey, tmp_path: Path
) -> None:
    """A gate that lapsed behind an open transaction says which partition waits, for how long, and how many more do."""
    write(client, permit().sign(key))
    client.delete(NAMES.record(GATE))
    now_ms = int(time.time() * 1000)
    for name, waits in (("a", {"telemetry/0": [123, now_ms - 34_000]}), ("b", {"telemetry/1": [9, now_ms - 2_000]})):
        said = {"id": name, "group": "g", "evidence": {"telemetry/0": now_ms - 33_000}, "transactions": waits}
        client.set(NAMES.worker(name), json.dumps(said), px=60_000)
    found = Looker(store.url, str(tmp_path / "jwks.json"), installation=NAMES.installation).look()
    assert re.fullmatch(
        r"evidence is \d+\.\d s old: telemetry/0 waits for a transaction open for \d+ s \(offset 123\), 1 more partitions wait",
        found.gates[0].because,
    )
    assert found.as_json()["waits"] == found.waits
    assert found.waits in gate_table.header("failshut watch", [], found).plain
    client.set(NAMES.worker("a"), json.dumps({"id": "a", "transactions": {"x": "y"}}), px=60_000)
    assert "telemetry/1 waits" in Looker(store.url, installation=NAMES.installation).look().waits


def test_a_store_that_does_not_answer_is_unreachable(free_port: Callable[[], int]) -> None:
    """Nobody there is status 3, and the message says what it means for gates."""
    with pytest.raises(Trouble) as told:
        Looker(f"redis://127.0.0.1:{free_port()}/0", installation=NAMES.installation).look()
    assert told.value.status is Exit.UNREACHABLE
    assert "runs out" in told.value.means


def test_a_status_commands_no_terminal(store: Valkey, client: redis.Redis, key: SigningKey, tmp_path: Path) -> None:
    """Whoever can write the store can write what screens show; what cannot be printed is shown as its escape."""
    client.sadd(NAMES.gates, "\x1b[2J")
    write(client, permit().sign(key), because="\x1b[2J\x1b]0;owned\x07")
    status = {"breaker": "\x1b[31m", "readings": [["\x1b", "\x9b", "\u202e"]], "because": "\x1b", "policy": "\x1b"}
    client.set(NAMES.status(GATE), json.dumps(status))
    client.set(NAMES.worker("w"), json.dumps({"id": "\x1b[2J", "group": "\x1b"}))
    shown = Looker(store.url, str(tmp_path / "jwks.json"), installation=NAMES.installation).look()
    for view in shown.gates:
        texts = [view.gate, view.breaker, view.cause, view.because, view.policy, view.epoch, *sum(view.readings, ())]
        assert all(text.isprintable() for text in texts)
    assert all(worker.id.isprintable() for worker in shown.workers)


def test_without_an_installation_nothing_is_shown(store: Valkey, client: redis.Redis, key: SigningKey, tmp_path: Path) -> None:
    """Unknown is said as unknown: no gate of any installation is shown as this one's."""
    key.write_jwks(tmp_path / "jwks.json")
    write(client, permit().sign(key))
    with pytest.raises(Trouble) as told:
        Looker(store.url, str(tmp_path / "jwks.json")).look()
    assert "--installation" in told.value.do


@pytest.mark.parametrize("kind", ["record", "status"])
def test_one_gates_giant_value_blinds_no_other_gate(
    store: Valkey, client: redis.Redis, key: SigningKey, tmp_path: Path, kind: str
) -> None:
    """40 MB under one gate's key, or a list where a text should be: the other gate is shown as it is."""
    write(client, permit().sign(key))
    for name, spoil in (
        ("big", lambda at: client.setrange(at, 40 * 1024 * 1024, b"y")),
        ("list", lambda at: client.lpush(at, "x")),
    ):
        client.sadd(NAMES.gates, name)
        spoil(getattr(NAMES, kind)(name))
    looker = Looker(store.url, str(tmp_path / "jwks.json"))
    try:
        views = {view.gate: view for view in looker.look().gates}
    finally:
        looker.close()
    assert views[GATE].state == OPEN
    assert {views[name].state for name in ("big", "list")} == {CLOSED}


def test_what_is_no_gates_name_is_left_out(store: Valkey, client: redis.Redis, key: SigningKey, tmp_path: Path) -> None:
    """Whatever else somebody put into the set of gates."""
    write(client, permit().sign(key))
    client.sadd(NAMES.gates, b"\xff\xfe", "a\nb", "", "x" * 1000)
    assert look(store, tmp_path).state == OPEN
