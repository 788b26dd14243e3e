"""`failshut try`: a series of a file or of Kafka, what a gate would have done on it, and what to paste."""

from __future__ import annotations

import json
import random
import time
from pathlib import Path

import pytest
from confluent_kafka import Producer
from confluent_kafka.admin import AdminClient, NewTopic
from console.console_support import Failshut
from patience import patient

from failshut_breakers.policy.policy import parse_policy
from failshut_servers import Kafka

START_S = 1_772_366_400


def write(path: Path, count: int = 1_500, heads: str = "time,value") -> Path:
    """A file of a latency a minute, with a fault of an hour in it."""
    rng = random.Random(1)
    rows = [f"{START_S + 60 * n},{rng.gauss(900 if 1_000 <= n < 1_060 else 100, 5):.2f}" for n in range(count)]
    path.write_text("\n".join([heads, *rows]) + "\n", encoding="utf-8")
    return path


@pytest.mark.slow
def test_a_file_becomes_a_table_a_picture_and_lines_to_paste(failshut: Failshut, tmp_path: Path) -> None:
    """The gate closes at the fault, and hears what is put in; what is to be pasted is a policy."""
    file = write(tmp_path / "latency.csv")
    told = failshut("try", str(file), "--detector", "cusum", "-o", "latency.png")
    assert told.status == 0, told.err
    assert told.out.startswith("data/latency: 1500 readings, one every 60s, 2026-03-01T12:00:00.000Z to ")
    assert "cusum" in told.out.splitlines()[2]
    (triple,) = [line for line in told.out.splitlines() if line.startswith("triple")]
    assert triple.split()[1:4] == ["5", "of", "5,"] or triple.split()[1:4] == ["4", "of", "4,"], triple
    lines = told.out.partition("Paste this into a policy:\n\n")[2].partition("\n\n")[0]
    assert parse_policy(f"gate: g\npermit: {{ttl: 3s}}\n{lines}").conditions
    assert Path("latency.png").read_bytes()[:4] == b"\x89PNG"
    again = failshut("try", str(file), "-o", "latency.png")
    assert (again.status, "latency.png is there already" in again.err) == (2, True)


@pytest.mark.slow
def test_json_holds_every_closing(failshut: Failshut, tmp_path: Path) -> None:
    """Columns may have other names; a series may be named."""
    file = write(tmp_path / "x.csv", heads="at,ms")
    told = failshut("try", str(file), "--time-column", "at", "--value-column", "ms", "--series", "api/ms", "--json")
    assert told.status == 0, told.err
    said = json.loads(told.out)
    assert (said["series"], said["readings"], said["pace_ms"]) == ("api/ms", 1_500, 60_000)
    first = said["tried"][0]
    assert first["name"] == "local_seasonal"
    assert first["closings"][0]["start_ms"] == (START_S + 60 * 1_000) * 1_000
    assert first["incidents"].keys() >= {"double", "stuck", "second"}


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        (("nothing.csv",), "there is no file nothing.csv"),
        (("x.csv", "--detector", "nonesuch"), "no detector is named 'nonesuch'"),
        (("x.csv", "-o", "x.jpg"), "x.jpg: a picture is .png or .svg"),
        (("x.csv", "--zone", "Nowhere/Land"), "--zone: "),
        (("short.csv",), "data/short has 5 readings"),
        ((), "--series is needed to read from Kafka"),
        (("--series", "a/x"), "no broker is known"),
        (("--series", "a/x", "--broker", "kafka://127.0.0.1:1", "--last", "yesterday"), "--last: "),
    ],
)
def test_what_is_wrong_is_said(failshut: Failshut, tmp_path: Path, arguments: tuple[str, ...], says: str) -> None:
    """A file, a detector, a picture, a zone, too little, and where to read."""
    write(tmp_path / "x.csv")
    write(tmp_path / "short.csv", 5)
    given = [str(tmp_path / one) if one in ("x.csv", "short.csv") else one for one in arguments]
    told = failshut("try", *given)
    assert (told.status, told.out) == (2, "")
    assert says in told.err


def test_what_kafka_holds_of_a_series_is_tried(kafka: Kafka, suffix: str, failshut: Failshut) -> None:
    """Two partitions are put in order; other series, marks and what is older are left out, and NaN is a fault."""
    prefix = f"try-{suffix}."
    admin = AdminClient({"bootstrap.servers": kafka.bootstrap})
    topics = {prefix + topic for topic in ("telemetry", "otlp_metrics", "evidence")}
    for topic in topics:
        admin.create_topics([NewTopic(topic, 2, 1)])[topic].result(patient(30))
    end = time.monotonic() + patient(30)
    while not topics <= {name for name, one in admin.list_topics().topics.items() if len(one.partitions) == 2}:
        assert time.monotonic() < end, "the broker names the topics that it has made"
        time.sleep(0.1)
    producer = Producer({"bootstrap.servers": kafka.bootstrap, "log_level": 0})
    now_ms, rng = int(time.time() * 1000), random.Random(1)
    for n in range(400):
        at_ms = now_ms - (400 - n) * 1_000
        for name, value in (("ms", rng.gauss(100, 5) if n != 200 else float("nan")), ("other", 1.0)):
            event = {"kind": "sample", "service": "api", "metric": name, "value": value, "time": at_ms}
            producer.produce(f"{prefix}telemetry", json.dumps(event), partition=n % 2, timestamp=at_ms)
    assert producer.flush(patient(30)) == 0
    told = failshut("try", "--series", "api/ms", "--broker", kafka.url, "--prefix", prefix, "--last", "1h", "--json")
    assert told.status == 0, told.err
    said = json.loads(told.out)
    assert (said["readings"], said["pace_ms"]) == (400, 1_000)
    assert said["tried"][0]["opened_ms"]
    none = failshut("try", "--series", "api/none", "--broker", kafka.url, "--prefix", prefix)
    assert (none.status, "there are no readings of api/none" in none.err) == (2, True)
