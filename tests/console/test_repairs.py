"""What an operator puts right by name: a fence that is ahead of everything, and gaps, as workers report them."""

from __future__ import annotations

import json

import redis
from console.console_support import Failshut

from failshut.epoch import epoch_of
from failshut.store.names import Names
from failshut_console.monitor.gate_views import Looker
from failshut_console.terminal.gate_table import changes
from failshut_servers import Valkey

LATER = epoch_of(9, 7)
NAMES = Names("i" * 32)


def report(client: redis.Redis, **said: object) -> None:
    """A worker's line, with what it says beside its name."""
    client.set(NAMES.worker("w"), json.dumps({"id": "w", "group": "g", **said}))


def test_a_fence_is_removed_by_its_epoch_alone(store: Valkey, failshut: Failshut) -> None:
    """The epoch that the log names, and no other; the record goes with it, and a second time there is nothing to remove."""
    with redis.Redis.from_url(store.url, decode_responses=True) as client:
        client.hset(NAMES.fence("pay"), mapping={"epoch": LATER, "offset": f"{7:016d}", "kind": "permit"})
        client.set(NAMES.record("pay"), "x")
        clear = ("fence", "clear", "pay", "--store", store.url, "--installation", NAMES.installation, "--epoch")
        assert failshut(*clear, 5).status == 1
        assert client.hget(NAMES.fence("pay"), "epoch") == LATER
        assert failshut(*clear, int(LATER)).status == 0
        assert client.exists(NAMES.fence("pay"), NAMES.record("pay")) == 0
        assert failshut(*clear, int(LATER)).status == 1


def test_what_the_store_refuses_is_on_the_screen(store: Valkey) -> None:
    """A gate whose writes are refused for good says so, and `watch` shows it as a change."""
    with redis.Redis.from_url(store.url) as client:
        client.sadd(NAMES.gates, "pay", "other")
        report(client)
        looker = Looker(store.url, installation=NAMES.installation)
        before = {view.gate: view for view in looker.look().gates}
        report(client, refused={"pay": "the store refuses pay: it holds epoch 9"})
        after = looker.look().gates
        assert [(view.gate, view.because.startswith("the store refuses pay")) for view in after] == [
            ("other", False),
            ("pay", True),
        ]
        assert [view.gate for view in changes(before, after)] == ["pay"]
        looker.close()


def test_gaps_are_listed_by_place(store: Valkey, failshut: Failshut) -> None:
    """The lowest covered position of all governors; no gap is status 0, and nobody alive is not `no gap`."""
    listing = ("gap", "list", "--store", store.url, "--installation", NAMES.installation)
    assert failshut(*listing).status == 3
    with redis.Redis.from_url(store.url) as client:
        report(client)
        assert failshut(*listing).status == 0
        report(client, gap_places={"telemetry/0": [5, 9], "otlp_metrics/1": [1, 2]})
        client.set(NAMES.worker("v"), json.dumps({"id": "v", "group": "g", "gap_places": {"telemetry/0": [3, 12]}}))
    ended = failshut(*listing, "--json")
    assert (ended.status, json.loads(ended.out)) == (
        1,
        {"otlp_metrics/1": {"began": 2, "covered": 1}, "telemetry/0": {"began": 12, "covered": 3}},
    )
    assert "telemetry/0  covered up to 3, what came next began at 12" in failshut(*listing).out


def test_what_is_no_gap_is_not_signed_for(store: Valkey, failshut: Failshut) -> None:
    """Control is never given up, and a partition without a gap only up to an offset that is named."""
    with redis.Redis.from_url(store.url) as client:
        report(client)
    where = ("--store", store.url, "--installation", NAMES.installation, "--broker", "kafka://127.0.0.1:1", "--why", "x")
    assert failshut("gap", "accept", "control", 0, *where).status == 2
    assert failshut("gap", "accept", "telemetry", 0, *where).status == 1
