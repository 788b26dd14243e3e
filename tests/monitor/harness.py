"""A whole monitor for a test: topics, keys, a term, policies, and workers as processes of their own.

`Installation` is one monitor on a broker and a store, under a prefix that no other test uses. Workers are real processes that
can be stopped, killed, paused and resumed. What was decided is read from the decisions topic, which is what an operator would
look at.
"""

from __future__ import annotations

import asyncio
import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Awaitable, Callable, Iterable, Mapping
from pathlib import Path
from types import TracebackType
from typing import Any, Self

import redis
from aiokafka import AIOKafkaConsumer, AIOKafkaProducer, TopicPartition
from monitor.forked import ForkedProcess
from patience import patient

from failshut.permit import Permit, verify
from failshut.seal import Seal, seal_name, verify_seal
from failshut.signing import SigningKey, TokenError
from failshut.store.names import Names
from failshut_breakers.decisions.decision import Decision, Kind, decode_decision
from failshut_breakers.evidence.records import Run, decode_run
from failshut_servers import Kafka, Valkey
from failshut_servers.process import wait_until_stopped
from failshut_streams.control.client import Operator, new_id
from failshut_streams.kafka import topics as topic_setup
from failshut_streams.kafka.topics import Counts, Topics
from failshut_streams.sources.marks import wall_ms

PATIENCE_S = 60.0


async def until(
    claim: Callable[[], Any] | Callable[[], Awaitable[Any]], what: str | Callable[[], str], seconds: float = PATIENCE_S
) -> Any:
    """Return what `claim` returns once it is true. Fails the test when it does not become so in a generous time."""
    end = time.monotonic() + patient(seconds)
    while True:
        value = claim()
        if asyncio.iscoroutine(value):
            value = await value
        if value:
            return value
        if time.monotonic() > end:
            raise AssertionError(f"not within {seconds:.0f} s: {what if isinstance(what, str) else what()}")
        await asyncio.sleep(0.02)


class WorkerProcess:
    """One worker. `fault` names what `faulty_worker.py` does to it while the file `trigger` is there."""

    def __init__(self, config: dict[str, Any], log: Path, fault: str = "", path: Path | None = None) -> None:
        self.config, self.log, self.fault = config, log, fault
        self._path = [] if path is None else [str(path)]  # of packages that this worker alone has
        self.trigger = log.with_suffix(".fault")
        self._process: subprocess.Popen[bytes] | ForkedProcess | None = None

    def start(self) -> Self:
        config = json.dumps(self.config)
        self._process = self._anew(config) if self.fault or self._path else ForkedProcess(config, self.log)
        return self

    def _anew(self, config: str) -> subprocess.Popen[bytes]:
        module = "monitor.faulty_worker" if self.fault else "failshut_streams.worker"
        path = os.pathsep.join([str(Path(__file__).parents[1]), *self._path, os.environ.get("PYTHONPATH", "")])
        environment = {
            **os.environ,
            "PYTHONUNBUFFERED": "1",
            "PYTHONPATH": path,
            "FAILSHUT_TEST_FAULT": self.fault,
            "FAILSHUT_TEST_TRIGGER": str(self.trigger),
        }
        command = [sys.executable, "-m", module, config]
        with self.log.open("ab") as out:
            return subprocess.Popen(command, stdout=out, stderr=subprocess.STDOUT, env=environment)

    @property
    def process(self) -> subprocess.Popen[bytes] | ForkedProcess:
        assert self._process is not None
        return self._process

    def signal(self, number: int) -> None:
        self.process.send_signal(number)

    def pause(self) -> None:
        self.signal(signal.SIGSTOP)
        wait_until_stopped(self.process.pid)

    def resume(self) -> None:
        self.signal(signal.SIGCONT)

    def kill(self) -> None:
        self.process.kill()
        self.process.wait(patient(30))

    def stop(self, seconds: float = 40) -> int:
        """Ask it to stop and return its exit status."""
        if self.process.poll() is None:
            self.resume()
            self.process.terminate()
        try:
            return self.process.wait(patient(seconds))
        except subprocess.TimeoutExpired:
            self.kill()
            raise

    @property
    def exit_status(self) -> int | None:
        return self.process.poll()

    def said(self, text: str) -> bool:
        return text in self.log.read_text(errors="replace")


class Installation:
    """One monitor. `async with Installation(kafka, store, folder, prefix, policies) as monitor:`."""

    def __init__(
        self,
        kafka: Kafka | str,
        store: Valkey | str,
        folder: Path,
        prefix: str,
        policies: Mapping[str, str],
        counts: Counts | None = None,
        **config: Any,
    ) -> None:
        self.bootstrap = kafka if isinstance(kafka, str) else kafka.bootstrap
        self.store_url = store if isinstance(store, str) else store.url
        self.folder, self.prefix, self.policies = folder, prefix, dict(policies)
        self.topics = Topics(prefix)
        self.counts = counts or Counts(telemetry=2, otlp_metrics=1, evidence=2, decisions=1)
        self.signing_key, self.operator_key = SigningKey.generate(), SigningKey.generate()
        self.jwks = folder / "jwks.json"
        self.config = {
            "broker": f"kafka://{self.bootstrap}",
            "store": self.store_url,
            "signing_key": str(folder / "signing.pem"),
            "operators": str(folder / "operators.jwks"),
            "prefix": prefix,
            "evidence_partitions": self.counts.evidence,
            "telemetry_partitions": self.counts.telemetry,
            "otlp_partitions": self.counts.otlp_metrics,
            "session_timeout_ms": 3_000,
            "snapshot_every_ms": 1_000,
            "commit_every_ms": 300,
            "mark_every_ms": 100,
            **config,
        }
        self.workers: list[WorkerProcess] = []
        self.decisions: list[Decision] = []
        self.seals: dict[tuple[int, int], Seal] = {}  # by partition and offset: those that were seen in the store
        self.decision_bytes: list[bytes] = []
        self.redis: Any = redis.Redis.from_url(self.store_url, socket_timeout=5)  # its answers are bytes; its types say more
        self.producer: AIOKafkaProducer
        self.operator: Operator
        self._reader: asyncio.Task[None]
        self._sealing: asyncio.Task[None]

    async def __aenter__(self) -> Self:
        self.folder.mkdir(parents=True, exist_ok=True)
        self.signing_key.save(self.folder / "signing.pem")
        self.operator_key.write_jwks(self.folder / "operators.jwks")
        self.found = await topic_setup.ensure(self.config["broker"], self.topics, self.counts)
        self.operator = await Operator(self.config["broker"], self.operator_key, self.prefix).__aenter__()
        term, _, _ = await self.operator.open_term(self.found)
        self.names = Names(term.installation)
        self.keys = self.signing_key.key_set().of(term.installation)
        self.keys.write(self.jwks)
        if self.policies:
            await self.operator.activate(self.policies)
        self.producer = AIOKafkaProducer(bootstrap_servers=self.bootstrap, acks="all", linger_ms=0, metadata_max_age_ms=1000)
        await self.producer.start()
        self._reader = asyncio.create_task(self._read_decisions())
        self._sealing = asyncio.create_task(self._read_seals())
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if error is not None:
            await self._show_evidence()
        self._reader.cancel()
        self._sealing.cancel()
        await asyncio.gather(self._reader, self._sealing, return_exceptions=True)
        for worker in self.workers:
            if worker.exit_status is None:
                worker.kill()
        await self.producer.stop()
        await self.operator.__aexit__(None, None, None)
        self.redis.close()
        if error is not None:
            for worker in self.workers:
                print(f"--- {worker.log.name}\n" + worker.log.read_text(errors="replace")[-6000:])

    # --- workers ---

    def worker(self, name: str = "a", fault: str = "", path: Path | None = None, **config: Any) -> WorkerProcess:
        """Start a worker; what is given changes its configuration. `path` holds packages that it alone has."""
        config = {**self.config, "worker_id": name, **config}
        worker = WorkerProcess(config, self.folder / f"worker-{name}.log", fault, path)
        self.workers.append(worker.start())
        return worker

    # --- what goes in ---

    async def send(self, *events: dict[str, Any], key: str | None = None, partition: int | None = None) -> Any:
        """Send events as one telemetry record and return its metadata once it is acknowledged."""
        value = json.dumps(list(events)).encode()
        return await self.send_raw(value, key=key, partition=partition)

    async def send_raw(
        self, value: bytes | None, topic: str | None = None, key: str | None = None, partition: int | None = None
    ) -> Any:
        """Send one record as it is."""
        where = topic or self.topics.telemetry
        return await self.producer.send_and_wait(where, value, key=key.encode() if key else None, partition=partition)

    async def values(self, series: str, values: Iterable[float], partition: int | None = None) -> list[Any]:
        """Send a record for each value of a series, in order, and return their metadata once all are acknowledged."""
        service, metric = series.split("/", 1)
        sends = [
            await self.producer.send(
                self.topics.telemetry,
                json.dumps({"service": service, "metric": metric, "value": value}).encode(),
                key=series.encode(),
                partition=partition,
            )
            for value in values
        ]
        return list(await asyncio.gather(*sends))

    def ended(self, gate: str, outcome: str = "ok", token: str = "", count: int = 1, epoch: str = "0" * 16) -> None:
        """Say how executions ended, as a guard does: an entry in the gate's stream."""
        said = {"epoch": token[:16] or epoch, "token": token, "outcome": outcome, "count": count, "lost": 0}
        self.redis.xadd(self.names.outcomes(gate), said)

    def command(self, kind: type[Any], **fields: Any) -> Any:
        """Make a command by a tester."""
        at = {"signed_ms": wall_ms()} if "signed_ms" in kind.model_fields else {}
        head = {"installation": self.names.installation, "by": "tester", "why": "a test", "id": new_id()}
        return kind(**{**head, **at, **fields})

    # --- what comes out ---

    def record_ttl_ms(self, gate: str) -> int:
        """Return the life of what stands in the store: -2 nothing, -1 a closing."""
        return int(self.redis.pttl(self.names.record(gate)))

    def open(self, gate: str) -> bool:
        """Whether a permit stands in the store that has not expired, renewed by a seal where it lives by seals."""
        life_ms, token = self.record_ttl_ms(gate), self.redis.get(self.names.record(gate))
        if life_ms <= 0 or not token:
            return False
        permit = verify(token, self.keys, gate)
        assert isinstance(permit, Permit)
        return not permit.sealed or self._sealed_ms(permit) + permit.ttl_ms > wall_ms()

    def proven_ms(self, gate: str) -> int:
        """Return up to which evidence time the store says that the gate may be open; 0 where it is closed."""
        token = self.redis.get(self.names.record(gate))
        permit = verify(token, self.keys, gate) if token else None
        if not isinstance(permit, Permit):
            return 0
        return self._sealed_ms(permit) if permit.sealed else permit.evidence_ms

    def _sealed_ms(self, permit: Permit) -> int:
        seal = self.redis.get(self.names.seal(permit.partition))
        return verify_seal(seal, self.keys).time_of(seal_name(permit)) if seal else 0

    def status(self, gate: str) -> Decision | None:
        """Return the decision that the store's status shows."""
        data = self.redis.get(self.names.status(gate))
        return decode_decision(data) if data else None

    def of(self, gate: str, kind: Kind | None = None) -> list[Decision]:
        """Return the decisions about a gate that were read so far, each once, in the order of the log."""
        seen: set[bytes] = set()
        chosen = []
        for data, decision in zip(self.decision_bytes, self.decisions, strict=True):
            if decision.gate == gate and (kind is None or decision.kind is kind) and data not in seen:
                seen.add(data)
                chosen.append(decision)
        return chosen

    async def opened(self, gate: str, seconds: float = PATIENCE_S) -> None:
        """Wait until the gate's permit stands in the store."""
        await until(lambda: self.open(gate), lambda: f"{gate} is open; status {self.status(gate)}", seconds)

    async def closed(self, gate: str, cause: str | None = None, seconds: float = PATIENCE_S) -> Decision:
        """Wait until the gate's last decision is a closing (of that cause) and return it."""

        def claim() -> Decision | None:
            status = self.status(gate)
            fits = status is not None and status.kind is Kind.CLOSE and (cause is None or status.cause == cause)
            return status if fits else None

        decision = await until(claim, lambda: f"{gate} is closed over {cause}; status {self.status(gate)}", seconds)
        assert not self.open(gate)
        await until(lambda: decision in self.decisions, "the closing is on record")
        return decision  # type: ignore[no-any-return]

    async def lapsed(self, gate: str, seconds: float = PATIENCE_S) -> None:
        """Wait until no permit stands in the store."""
        await until(lambda: not self.open(gate), f"{gate} has lapsed", seconds)

    async def evidence(self) -> list[tuple[int, int, Run]]:
        """Return every evidence record that there is now: partition, offset, run."""
        runs: list[tuple[int, int, Run]] = []
        consumer = AIOKafkaConsumer(bootstrap_servers=self.bootstrap, group_id=None, auto_offset_reset="earliest")
        await consumer.start()
        try:
            places = [TopicPartition(self.topics.evidence, partition) for partition in range(self.counts.evidence)]
            consumer.assign(places)
            ends = await consumer.end_offsets(places)
            for place in places:
                consumer.seek(place, (await consumer.beginning_offsets([place]))[place])
            while any([await consumer.position(place) < ends[place] for place in places]):
                for place, batch in (await consumer.getmany(timeout_ms=500)).items():
                    runs += [(place.partition, record.offset, decode_run(record.value)) for record in batch]
        finally:
            await consumer.stop()
        return runs

    async def dead_letters(self) -> list[dict[str, Any]]:
        """Return every dead letter that there is now."""
        consumer = AIOKafkaConsumer(bootstrap_servers=self.bootstrap, group_id=None, auto_offset_reset="earliest")
        await consumer.start()
        try:
            place = TopicPartition(self.topics.dead_letter, 0)
            consumer.assign([place])
            end = (await consumer.end_offsets([place]))[place]
            letters: list[dict[str, Any]] = []
            consumer.seek(place, 0)
            while await consumer.position(place) < end:
                for batch in (await consumer.getmany(place, timeout_ms=500)).values():
                    letters += [json.loads(record.value) for record in batch]
            return letters
        finally:
            await consumer.stop()

    async def _show_evidence(self) -> None:
        """Print the newest runs, for whoever looks at a test that failed."""
        try:
            runs = await asyncio.wait_for(self.evidence(), patient(10))
        except Exception as error:
            print(f"no evidence: {error!r}")
            return
        for at, offset, run in runs[:20] + runs[-40:]:
            said = (list(run.readings), [type(notice).__name__ for notice in run.notices])
            where = f"{run.topic}/{run.partition} {run.previous}..{run.upto}"
            under = f"by {run.router} term {run.term} routing {run.routing}"
            print(f"evidence {at}/{offset} {under} {where} {run.append_ms} {run.mark} {said}")

    async def _read_seals(self) -> None:
        """Keep every seal that is seen in the store: ten looks a second, where a seal stays for a third of one or longer."""
        seen: dict[str, bytes] = {}
        while True:
            for partition in range(self.counts.evidence):
                name = self.names.seal(partition)
                try:
                    token = await asyncio.to_thread(self.redis.get, name)
                    if token and token != seen.get(name):
                        seen[name] = token
                        seal = verify_seal(token, self.keys)
                        self.seals[seal.partition, seal.offset] = seal
                except (redis.RedisError, OSError, TokenError):
                    continue  # a test broke the store, or wrote over the seal
            await asyncio.sleep(0.1)

    async def _read_decisions(self) -> None:
        consumer = AIOKafkaConsumer(
            self.topics.decisions, bootstrap_servers=self.bootstrap, group_id=None, auto_offset_reset="earliest"
        )
        await consumer.start()
        try:
            async for record in consumer:
                self.decisions.append(decode_decision(record.value))
                self.decision_bytes.append(record.value)
        finally:
            await consumer.stop()
