"""What a question over HTTP costs, and how soon a closing is a 403: beside a bare ASGI 200 and an empty FastAPI route.

Each contender is a process of its own on the gateway's own server class. They take turns, round by round, with 16 connections
from this process. CPU is that of the server's event loop, its main thread, as the kernel counts it, for each request. Client
and server share cores, so a rate is said as requests for each second of that thread. Ten gates are asked in turn, and then
1,000. The guard follows every gate that was asked for, in threads of its own, whose CPU is a figure of its own. A closing is
timed from the moment before the stand-in writes and pushes it, to the first 403 through nginx, and to the first denial of a
guard in this process, in the same round.

Limit: the stand-in signs each permit by itself, so that the guard reads 1,000 records four times a second. A monitor's seals
spare it that.
"""

from __future__ import annotations

import asyncio
import json
import os
import shutil
import statistics
import subprocess
import sys
import tempfile
import threading
import time
from pathlib import Path
from typing import Any

import harness
import psutil

sys.path.insert(0, str(harness.ROOT / "tests"))

from guard.standin import SUBJECT, Monitor

from failshut import Configuration, Gate, Guard, Withheld
from failshut_gateway.access import access_file
from failshut_servers import Valkey, free_port

GATES = 1_000
CONNECTIONS = 16
ROUNDS = 7
SECONDS = 2.0
CLOSINGS = 100
SERVER = harness.ROOT / "benchmarks" / "contenders" / "gateway_server.py"
NGINX = harness.ROOT / "docker" / "proxies" / "nginx.conf"
KINDS = ("bare", "fastapi", "forward auth", "AuthZEN")


class World:
    """A store with 1,000 open gates, and the three servers."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.store = Valkey(folder / "valkey").start()
        self.monitors = [Monitor(self.store.url, "bench.gate-0000")]
        first = self.monitors[0]
        self.monitors += [Monitor(self.store.url, f"bench.gate-{number:04}", first.key) for number in range(1, GATES)]
        for monitor in self.monitors:
            monitor.ttl_ms = 3_600_000
            monitor.issue()
        first.write_jwks(folder / "jwks.json")
        now_ms = int(time.time() * 1000)
        names = {"role": "service", "subjects": [SUBJECT], "gates": ["bench.*"]}
        _, self.key = access_file.create(folder / "access.json", now_ms, expires_ms=now_ms + 3_600_000, **names)  # type: ignore[arg-type]
        files = [self.store.url, str(folder / "jwks.json"), str(folder / "access.json")]
        self.ports = {kind: free_port() for kind in ("bare", "fastapi", "gateway")}
        self.processes = {
            kind: subprocess.Popen([sys.executable, str(SERVER), kind, str(port), *(files if kind == "gateway" else [])])
            for kind, port in self.ports.items()
        }

    def close(self) -> None:
        for process in self.processes.values():
            process.terminate()
            process.wait()
        self.store.kill()

    def request(self, kind: str, number: int) -> bytes:
        gate = self.monitors[number % GATES].gate
        head = f"host: x\r\nx-failshut-key: {self.key}\r\nx-failshut-subject: {SUBJECT}\r\n"
        if kind != "AuthZEN":
            return f"GET /v1/forward-auth/{gate} HTTP/1.1\r\n{head}\r\n".encode()
        kind_of, _, name = SUBJECT.partition(":")
        asked = {"subject": {"type": kind_of, "id": name}, "action": {"name": "act"}, "resource": {"type": "gate", "id": gate}}
        body = json.dumps(asked)
        head += f"content-type: application/json\r\ncontent-length: {len(body)}\r\n"
        return f"POST /access/v1/evaluation HTTP/1.1\r\n{head}\r\n{body}".encode()

    def port(self, kind: str) -> int:
        return self.ports.get(kind, self.ports["gateway"])


async def ask(reader: asyncio.StreamReader, writer: asyncio.StreamWriter, data: bytes) -> bytes:
    """One request on a connection that stays; the reply's head and body."""
    writer.write(data)
    head = await reader.readuntil(b"\r\n\r\n")
    at = head.lower().find(b"content-length:")
    length = int(head[at + 15 : head.index(b"\r\n", at)]) if at >= 0 else 0
    return head + (await reader.readexactly(length) if length else b"")


async def load(world: World, kind: str, seconds: float, gates: int, wrong: list[bytes]) -> list[float]:
    """Ask for so long over all connections; the time of each request."""
    requests = [world.request(kind, number) for number in range(gates)]
    times: list[float] = []
    end = time.perf_counter() + seconds

    async def one(offset: int) -> None:
        reader, writer = await asyncio.open_connection("127.0.0.1", world.port(kind))
        number = offset
        while (began := time.perf_counter()) < end:
            reply = await ask(reader, writer, requests[number % gates])
            times.append(time.perf_counter() - began)
            if not reply.startswith(b"HTTP/1.1 200") or (kind == "AuthZEN" and b'"decision":true' not in reply):
                wrong.append(reply)
            number += CONNECTIONS
        writer.close()

    await asyncio.gather(*(one(offset) for offset in range(CONNECTIONS)))
    return times


def costs(world: World, report: harness.Report, gates: int) -> None:
    """CPU of the event loop for each request, and times."""
    wrong: list[bytes] = []
    for kind in KINDS:
        asyncio.run(load(world, kind, 3.0, gates, []))  # the guard meets its gates
    gateway = psutil.Process(world.processes["gateway"].pid)
    before = gateway.cpu_times()
    time.sleep(5)
    after = gateway.cpu_times()
    background = (after.user + after.system - before.user - before.system) / 5
    cpu: dict[str, list[float]] = {kind: [] for kind in KINDS}
    times: dict[str, list[float]] = {kind: [] for kind in KINDS}
    for number in range(ROUNDS):
        harness.say(f"{gates} gates, round {number + 1} of {ROUNDS}")
        for kind in KINDS:
            process = psutil.Process(world.processes[kind if kind in world.processes else "gateway"].pid)
            began = _busy(process)
            found = asyncio.run(load(world, kind, SECONDS, gates, wrong))
            cpu[kind].append((_busy(process) - began) / len(found) * 1e6)
            times[kind] += found
    of = f"{gates} gates: "
    report.figure(of + "the guard's own CPU without a request", background, "")
    for kind in KINDS:
        report.figure(f"{of}{kind}, CPU for a request", statistics.median(cpu[kind]), "us")
        report.figure(f"{of}{kind}, p50", harness.percentile(times[kind], 50) * 1e6, "us")
        report.figure(f"{of}{kind}, p99", harness.percentile(times[kind], 99) * 1e6, "us")
    bare, fastapi, forward, authzen = (statistics.median(cpu[kind]) for kind in KINDS)
    report.goal(of + "forward auth, CPU of the bare 200's", forward / bare, 1.5)
    report.goal(of + "an empty FastAPI route's rate, of forward auth's", forward / fastapi, 1 / 3)
    report.goal(of + "an empty FastAPI route's rate, of AuthZEN's", authzen / fastapi, 0.5)
    report.goal(of + "answers that were not an admission", len(wrong), 0)


def _busy(process: psutil.Process) -> float:
    """CPU of the main thread, in seconds."""
    (loop,) = (thread for thread in process.threads() if thread.id == process.pid)
    return float(loop.user_time + loop.system_time)


def nginx(world: World) -> tuple[subprocess.Popen[bytes], int] | None:
    """nginx with its file of docker/proxies in front of the first gate; None where it is not installed."""
    program = shutil.which("nginx", path=f"{os.environ.get('PATH', '')}:/usr/sbin")
    if program is None:
        return None
    folder, port = world.folder / "nginx", free_port()
    folder.mkdir()
    text = NGINX.read_text().replace("127.0.0.1:8080", f"127.0.0.1:{port}")
    text = text.replace(
        "127.0.0.1:8181/v1/forward-auth/payments.refund", f"127.0.0.1:{world.ports['gateway']}/v1/forward-auth/bench.gate-0000"
    )
    text = text.replace("127.0.0.1:9000", f"127.0.0.1:{world.ports['bare']}").replace("FAILSHUT_KEY", world.key)
    (folder / "site.conf").write_text(text)
    places = " ".join(f"{name}_temp_path {folder}/{name};" for name in ("client_body", "proxy", "fastcgi", "uwsgi", "scgi"))
    (folder / "main.conf").write_text(
        f"daemon off; pid {folder}/pid; error_log {folder}/errors; events {{}}\n"
        f"http {{ access_log off; {places} include {folder}/site.conf; }}\n"
    )
    command = [program, "-c", str(folder / "main.conf"), "-p", str(folder), "-e", str(folder / "errors")]
    process = subprocess.Popen(command)
    end = time.monotonic() + 20
    while not (folder / "pid").exists() and time.monotonic() < end:
        time.sleep(0.05)
    return process, port


async def until_200(port: int) -> None:
    """Wait until requests come through."""
    for _ in range(200):
        try:
            reader, writer = await asyncio.open_connection("127.0.0.1", port)
            reply = await ask(reader, writer, b"GET / HTTP/1.1\r\nhost: x\r\n\r\n")
            writer.close()
            if reply.startswith(b"HTTP/1.1 200"):
                return
        except (OSError, asyncio.IncompleteReadError):
            pass
        await asyncio.sleep(0.1)
    raise SystemExit("nothing comes through nginx")


def until_denied(gate: Gate, end: float, found: list[float]) -> None:
    while time.perf_counter() < end:
        try:
            gate.check(SUBJECT)
        except Withheld:
            found.append(time.perf_counter())
            return
        time.sleep(0)


async def until_403(port: int, end: float, ready: threading.Event) -> float:
    """Ask over one connection until the answer is 403; when it was."""
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    while time.perf_counter() < end:
        try:
            reply = await ask(reader, writer, b"GET / HTTP/1.1\r\nhost: x\r\n\r\n")
        except (asyncio.IncompleteReadError, ConnectionError):  # nginx ends a connection after 1,000 requests
            reader, writer = await asyncio.open_connection("127.0.0.1", port)
            continue
        if reply.startswith(b"HTTP/1.1 403"):
            writer.close()
            return time.perf_counter()
        ready.set()
    raise SystemExit("a closing was not seen")


def closings(world: World, port: int, report: harness.Report) -> None:
    """Close the first gate again and again."""
    monitor = world.monitors[0]
    guard = Guard(Configuration(store_url=world.store.url, jwks=monitor.jwks, deadline_ms=2_000))
    gate = Gate(monitor.gate, guard=guard)
    mine: list[float] = []
    through: list[float] = []
    for number in range(CLOSINGS):
        if number % 20 == 0:
            harness.say(f"closing {number + 1} of {CLOSINGS}")
        end = time.perf_counter() + 20
        while True:
            try:
                gate.check(SUBJECT)
                break
            except Withheld:
                time.sleep(0.01)
        asyncio.run(until_200(port))
        ready, seen, denied = threading.Event(), list[float](), list[float]()
        asks = threading.Thread(
            target=lambda ready=ready, seen=seen, end=end: seen.append(asyncio.run(until_403(port, end, ready)))
        )
        asks.start()
        ready.wait(20)
        checks = threading.Thread(target=until_denied, args=(gate, end, denied))
        checks.start()
        time.sleep(0.02)
        began = time.perf_counter()
        monitor.close()
        asks.join()
        checks.join()
        mine.append(denied[0] - began)
        through.append(seen[0] - began)
        monitor.reopen()
        time.sleep(0.3)
    guard.close()
    report.figure("closing to a guard's denial, p50", harness.percentile(mine, 50) * 1e3, "ms")
    report.figure("closing to a guard's denial, p99", harness.percentile(mine, 99) * 1e3, "ms")
    report.figure("closing to 403 through nginx, p50", harness.percentile(through, 50) * 1e3, "ms")
    report.figure("closing to 403 through nginx, p99", harness.percentile(through, 99) * 1e3, "ms")
    report.goal(
        "closing to 403 through nginx, p99, ms", harness.percentile(through, 99) * 1e3, harness.percentile(mine, 99) * 1e3 + 10
    )


def main() -> None:
    report = harness.Report("gateway", ["failshut", "fastapi", "uvicorn", "httptools", "uvloop"])
    with tempfile.TemporaryDirectory() as name:
        world = World(Path(name))
        proxy: Any = None
        try:
            end = time.monotonic() + 30
            while time.monotonic() < end and any(process.poll() is None for process in world.processes.values()):
                try:
                    for port in world.ports.values():
                        asyncio.run(asyncio.wait_for(_connect(port), 1))
                    break
                except OSError:
                    time.sleep(0.1)
            for gates in (10, GATES):
                costs(world, report, gates)
            proxy = nginx(world)
            if proxy is None:
                harness.say("nginx is not installed here (apt-get install nginx-light): closings are not timed")
            else:
                closings(world, proxy[1], report)
        finally:
            if proxy is not None:
                proxy[0].terminate()
                proxy[0].wait()
            world.close()
    report.finish()


async def _connect(port: int) -> None:
    _, writer = await asyncio.open_connection("127.0.0.1", port)
    writer.close()


main()
