"""docker/compose.yaml without containers: its servers with their users, its services' commands with their environment."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
import threading
import urllib.error
import urllib.request
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any, NamedTuple

import yaml
from confluent_kafka import Producer
from docker.kafka_support import USERS, client, guarded_broker
from docker.test_stores import setup, started
from patience import patient

from failshut_servers import Valkey, free_port

DOCKER = Path(__file__).resolve().parents[2] / "docker"
COMPOSE: dict[str, Any] = yaml.safe_load((DOCKER / "compose.yaml").read_text())
SOURCES = ("refund-agent", "payment-router", "autoscaler")


class Ended(NamedTuple):
    """How a command ended."""

    status: int
    out: str
    err: str


class Installation:
    """The servers of the compose file, and what its services are told."""

    def __init__(self, folder: Path, kafka: int, stores: Mapping[str, int]) -> None:
        self.folder, self.kafka, self.stores = folder, kafka, stores
        self.metrics = free_port()
        lines = (folder / ".env").read_text().splitlines()
        self.variables = dict(line.split("=", 1) for line in lines)

    def environment(self, service: str) -> dict[str, str]:
        """A service's environment, with the places of this machine in place of the containers'."""
        told = COMPOSE["services"][service].get("environment", {})
        return {name: self.here(value) for name, value in told.items()}

    def environment_of(self, service: str) -> dict[str, str]:
        """What a service of services.txt is told, with its keys."""
        lines = (self.folder / "keys" / "services" / f"{service}.env").read_text().splitlines()
        told = {name: self.here(value) for name, value in (line.split("=", 1) for line in lines)}
        return {**told, "FAILSHUT_JWKS": str(self.folder / "keys" / "worker" / "monitor.jwks.json")}

    def here(self, text: str) -> str:
        """A text of the compose file as it reads on this machine."""
        text = re.sub(r"\$\{(\w+)[^}]*\}", lambda found: self.variables.get(found[1], "somebody"), text)
        text = text.replace("@kafka:9092", f"@127.0.0.1:{self.kafka}")
        for name, port in self.stores.items():
            text = text.replace(f"@{name}:6379", f"@127.0.0.1:{port}")
        text = re.sub(r"^/keys/", f"{self.folder}/keys/worker/", text).replace("/op/", f"{self.folder}/keys/")
        return text.replace("/policies", str(DOCKER / "policies")).replace("9108", str(self.metrics))

    def start(self, service: str, *arguments: str) -> subprocess.Popen[str]:
        """Start `failshut ARGUMENTS` as a service runs it."""
        clean = {name: value for name, value in os.environ.items() if not name.startswith("FAILSHUT_") or "TEST" in name}
        return subprocess.Popen(
            [sys.executable, "-m", "failshut_console", *arguments],
            cwd=self.folder,
            env={**clean, **self.environment(service)},
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )

    def run(self, service: str, *arguments: str) -> Ended:
        """Run it to its end."""
        process = self.start(service, *arguments)
        out, err = process.communicate(timeout=patient(120))
        return Ended(process.returncode, out, err)

    def ready(self) -> bool:
        """Whether the worker's own healthcheck says that gates can open."""
        command = [self.here(word) for word in COMPOSE["services"]["worker"]["healthcheck"]["test"][1:]]
        return subprocess.run([sys.executable, *command[1:]], capture_output=True, timeout=patient(30)).returncode == 0

    def why_not(self) -> str:
        """What /ready says."""
        try:
            with urllib.request.urlopen(f"http://127.0.0.1:{self.metrics}/ready", timeout=patient(5)) as answer:
                return str(answer.read())
        except urllib.error.HTTPError as error:
            return str(error.read())
        except OSError as error:
            return str(error)

    @contextmanager
    def heartbeats(self) -> Iterator[None]:
        """Every source of the example's policies is alive, as the user `producer` writes it."""
        stop = threading.Event()
        producer = Producer(client(self.kafka, "producer"))

        def beat() -> None:
            while not stop.wait(0.3):
                for source in SOURCES:
                    producer.produce("telemetry", json.dumps({"kind": "heartbeat", "service": source}), key=source)
                producer.poll(0)

        thread = threading.Thread(target=beat)
        thread.start()
        try:
            yield
        finally:
            stop.set()
            thread.join()
            producer.flush(10)


@contextmanager
def servers(folder: Path) -> Iterator[Installation]:
    """A broker and two stores with exactly the users and rights of docker/, and nothing in them."""
    made = setup()
    (folder / ".env").write_text(
        "".join(f"KAFKA_{user.upper()}_PASSWORD={user}-password\n" for user in USERS)
        + "".join(f"REDIS_{user.upper()}_PASSWORD={user}\n" for user in ("failshut", *made.PEOPLE))
    )
    made.main(folder)
    (folder / "kafka").mkdir()
    for name in ("redis", "outcomes"):
        (folder / name).mkdir()
    users = {name: (folder / "keys" / "stores" / f"{name}.acl").read_text() for name in ("redis", "outcomes")}
    with (
        guarded_broker(folder / "kafka", topics=()) as (port, _),
        started(Valkey, folder / "redis", "redis", users["redis"]) as permits,
        started(Valkey, folder / "outcomes", "outcomes", users["outcomes"]) as outcomes,
    ):
        yield Installation(folder, port, {"redis": permits.port, "outcomes": outcomes.port})
