"""A monitor on this machine: an embedded Apache Kafka, an embedded Valkey and workers, each a process of its own.

One machine is its limit: one broker, one store, no replicas. It is for trying, for developing and for tests; a cluster runs
`failshut run` with the same policies. Everything that is started here is stopped here, and no process outlives this one.
"""

from __future__ import annotations

import asyncio
import os
import re
import signal
import sys
import urllib.request
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Any, Self

import redis

from failshut.signing import SigningKey
from failshut.store.connection import connect
from failshut.store.names import Names
from failshut_console.exits import Exit, Trouble
from failshut_console.local.operator_book import OperatorBook
from failshut_console.local.state import Runtime, State, who
from failshut_console.monitor.activation import activate_now
from failshut_servers import KAFKA_VERSION, EmbeddedUnavailable, Kafka, Progress, Valkey
from failshut_servers.process import Server
from failshut_streams.control.client import Operator, TermError
from failshut_streams.kafka.topics import Counts, Topics, TopicsFound, ensure

Say = Callable[[str], None]
LAST_WORDS_BYTES = 20_000
_ERROR = re.compile(
    r"(?:\S+Z ERROR faust\.worker: \[\S+\]: Error: )?"
    r"((?:\w+\.)*[A-Z]\w*(?:Error|Exception|Unfit|Unreachable|Unavailable|Unreadable|Term)\b.*)"
)
"""A line of a worker's log that says why it ended: the last one of a traceback, or the one line of an error that has none."""
_OTHER_SERVERS = re.compile(r"FAILSHUT_(BROKER|(OUTCOMES_)?STORE)(?!_TIMEOUT_MS)")


class Child(Server):
    """A Python process of ours: a worker or one of the demonstration's services.

    Args:
        folder: where it logs.
        name: of its log.
        arguments: after `python`.
        is_ready: whether it has come up; asked until it has.
    """

    stop_seconds_max = 8.0

    def __init__(self, folder: Path, name: str, arguments: Sequence[str], is_ready: Callable[[], bool]) -> None:
        self.name = name
        super().__init__(folder)
        self._arguments = list(arguments)
        self._is_ready = is_ready

    def command(self) -> list[str]:
        return [sys.executable, *self._arguments]

    def environment(self) -> dict[str, str]:
        """Return this process's, without what it says of other servers: a cluster's password is none for the embedded ones."""
        return {name: value for name, value in os.environ.items() if not _OTHER_SERVERS.match(name)}

    def ready(self) -> bool:
        return self.running and self._is_ready()

    def last_words(self) -> str:
        """Return why it ended, as far as its log says: the last line of it that names an error."""
        try:
            lines = self.log_path.read_bytes()[-LAST_WORDS_BYTES:].decode(errors="replace").splitlines()
        except OSError:
            return "it left no log"
        named = [match[1] for line in lines if (match := _ERROR.match(line.strip()))]
        return named[-1][:300] if named else "its log names no error"

    def _address_in_use(self, log: str) -> bool:
        return False  # it listens nowhere


@dataclass(frozen=True, slots=True)
class WorkerSettings:
    """What a worker of this stack is told beyond its addresses; milliseconds."""

    evidence_partitions: int = 4
    telemetry_partitions: int = 4
    session_timeout_ms: int = 6_000
    lag_every_ms: int = 1_000
    snapshot_every_ms: int = 5_000

    def options(self) -> list[str]:
        """Return them as options of `failshut run`."""
        return [
            part for name in self.__dataclass_fields__ for part in (f"--{name.replace('_', '-')}", str(getattr(self, name)))
        ]


class Stack:
    """Servers and workers of one state folder.

    Args:
        state: the folder.
        say: told what is going on, for a person.
        progress: told of each jar that is downloaded.
        settings: of the workers.
        ports: of the servers, by name (ports.py); any free ones by default.
    """

    def __init__(
        self,
        state: State,
        say: Say,
        progress: Progress | None = None,
        settings: WorkerSettings | None = None,
        ports: Mapping[str, int] | None = None,
    ) -> None:
        self.state = state
        self.settings = settings or WorkerSettings()
        self._say = say
        ports = ports or {}
        self.kafka = Kafka(state.folder / "kafka", port=ports.get("kafka"), on_progress=progress)
        self.valkey = Valkey(state.folder / "valkey", port=ports.get("store"))
        self._metrics_port = ports.get("metrics", 0)
        self.workers: list[Child] = []
        self.children: list[Child] = []
        self.topics = Topics()
        self.installation = ""  # known once the term is open

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        self.stop()

    @property
    def servers(self) -> str:
        """What runs, in words."""
        try:
            with connect(self.valkey.url, 1.0) as client:
                said: Any = client.info("server")
                version = said.get("valkey_version", "?")
        except (redis.RedisError, OSError):
            version = "?"
        return f"Kafka {KAFKA_VERSION}, Valkey {version} (embedded)"

    def start_servers(self) -> None:
        """Start both servers, make keys and topics, open the first term.

        Raises:
            Trouble: one did not start, or the evidence is not the term's.
        """
        refuse_a_second(self.state)
        if self.state.ensure_keys():
            self._say(f"made keys in {self.state.signing_key.parent}")
        try:
            self.kafka.prepare()
            with ThreadPoolExecutor(2, "failshut-start") as pool:
                list(pool.map(lambda server: server.start(), (self.kafka, self.valkey)))
        except EmbeddedUnavailable as error:
            means = "no monitor runs here; gates that it opened lapse within their ttl"
            raise Trouble(str(error), means, status=Exit.UNREACHABLE) from error
        self._say(f"{self.servers} on {self.kafka.url} and {self.valkey.url}")
        self._write_runtime()
        try:
            asyncio.run(self._open())
        except TermError as error:
            raise Trouble(
                str(error), "no gate opens before a new term", f"failshut term open --renew --state {self.state.folder}"
            ) from error

    async def _open(self) -> TopicsFound:
        counts = Counts(telemetry=self.settings.telemetry_partitions, evidence=self.settings.evidence_partitions)
        found = await ensure(self.kafka.url, self.topics, counts)
        async with Operator(self.kafka.url, self.operator_key, name=who()) as operator:
            term, _, opened = await operator.open_term(found)
        self.installation = term.installation
        self.state.rename_installation(term.installation)
        if opened:
            self._say(f"opened term {term.term} of the evidence log, installation {term.installation}")
        return found

    @property
    def operator_key(self) -> SigningKey:
        """The key with which this machine's operator signs."""
        return SigningKey.load(self.state.operator_key)

    def activate(self, files: Mapping[str, str], why: str) -> int:
        """Put a bundle in force; return its version.

        Raises:
            Trouble: it was not taken, or a policy authority is named: nothing here signs for it.
        """
        if OperatorBook.read(self.state.operators).authority is not None:
            raise Trouble(
                "policies need the signatures of policy keys here, and this command signs none",
                "nothing was activated; what is in force stays",
                "failshut policy sign DIR -o BUNDLE, and failshut policy activate BUNDLE",
                Exit.REFUSED,
            )
        return activate_now(self.kafka.url, "", self.operator_key, who(), files, why, installation=self.installation)[0]

    def start_worker(self, name: str) -> Child:
        """Start a worker, or start it again if it has ended; does not wait until it reports (see `Child.ready`).

        Raises:
            Trouble: it could not be started.
        """
        worker = next((child for child in self.workers if child.name == name), None)
        if worker is None:
            worker = Child(self.state.folder / "workers", name, self._worker_arguments(name), lambda: self._reports(name))
            self.workers.append(worker)
        try:
            worker.launch()
        except EmbeddedUnavailable as error:
            raise Trouble(str(error), "no governor runs, so every gate is closed", status=Exit.UNREACHABLE) from error
        return worker

    def start_gateway(self, port: int) -> Child:
        """Start a gateway of this monitor, with its console. Access keys are those of the state folder. Raises `Trouble`."""
        place = f"127.0.0.1:{port}"
        arguments = ["-m", "failshut_console", "serve", "--bind", place, "--state", str(self.state.folder)]
        given = ["--store", self.valkey.url, "--jwks", str(self.state.jwks), "--broker", self.kafka.url]
        given += ["--console-key", str(self.state.operator_key)]
        try:
            return self.start_child("gateway", [*arguments, *given], lambda: _answers(place))
        except EmbeddedUnavailable as error:
            raise Trouble(str(error), "nobody can ask over HTTP", status=Exit.UNREACHABLE) from error

    def start_child(self, name: str, arguments: Sequence[str], is_ready: Callable[[], bool]) -> Child:
        """Start another process that ends with this one."""
        child = Child(self.state.folder / "services", name, arguments, is_ready)
        self.children.append(child)
        child.launch()
        return child

    def stop(self) -> None:
        """Stop everything, within a bounded time; what does not end is killed."""
        processes: list[Server] = [*self.children, *self.workers]
        with ThreadPoolExecutor(max(1, len(processes)), "failshut-stop") as pool:
            list(pool.map(lambda process: process.stop(), processes))
        with ThreadPoolExecutor(2, "failshut-stop") as pool:
            list(pool.map(lambda server: server.stop(), (self.kafka, self.valkey)))
        if self.state.runtime().pid == os.getpid():
            self.state.forget_runtime()

    # --- within ---

    def _worker_arguments(self, name: str) -> list[str]:
        return [
            *("-m", "failshut_console", "run"),
            *("--broker", self.kafka.url, "--store", self.valkey.url),
            *("--signing-key", str(self.state.signing_key), "--operators", str(self.state.operators)),
            *("--worker-id", name, "--instance-id", name),  # restarted, it keeps its partitions and does not wait for itself
            *(("--metrics-port", str(self._metrics_port)) if self._metrics_port else ()),
            *self.settings.options(),
        ]

    def _reports(self, name: str) -> bool:
        try:
            with connect(self.valkey.url, 1.0) as client:
                return bool(self.installation and client.exists(Names(self.installation).worker(name)))
        except (redis.RedisError, OSError):
            return False

    def _write_runtime(self) -> None:
        self.state.write_runtime(
            Runtime(
                broker=self.kafka.url,
                store=self.valkey.url,
                jwks=str(self.state.jwks),
                operator_key=str(self.state.operator_key),
                pid=os.getpid(),
                servers=self.servers,
            )
        )


def refuse_a_second(state: State) -> None:
    """Leave a monitor alone that runs on the folder already. Raises `Trouble`."""
    already = state.runtime()
    if already.pid and already.pid != os.getpid():
        raise Trouble(
            f"a monitor runs already on {state.folder} (process {already.pid})",
            "it is left alone",
            "use it (failshut gates), stop it, or take another folder: --state DIR",
        )


def _answers(place: str) -> bool:
    """Return whether a gateway answers there."""
    try:
        with urllib.request.urlopen(f"http://{place}/v1/live", timeout=1.0) as answer:
            return bool(answer.status == 204)
    except OSError:
        return False


def stop_on_signals() -> None:
    """Let SIGTERM and SIGHUP end this process as Ctrl-C does: with everything stopped."""

    def stop(number: int, frame: object) -> None:
        raise KeyboardInterrupt

    signal.signal(signal.SIGTERM, stop)
    if hasattr(signal, "SIGHUP"):
        signal.signal(signal.SIGHUP, stop)
