"""The line between the conductor and its services: a local socket, a JSON object a line, both ways.

Services report what their guards answered. The conductor asks them to begin and end their trouble, and receives the moment at
which they did. A service whose line breaks ends itself.
"""

from __future__ import annotations

import json
import socket
import threading
import time
from typing import Any

from failshut_console.demo.answers import Answer, GateAnswers
from failshut_console.exits import Exit, Trouble

ORDER_SECONDS_MAX = 5.0


class Channel:
    """Listens for the services of a demonstration."""

    def __init__(self, gates: dict[str, str]) -> None:
        self.by_gate = {gate: GateAnswers(gate) for gate in gates.values()}
        self._gate_of = gates
        self._lock = threading.Condition()
        self._lines: dict[str, socket.socket] = {}
        self._done: dict[int, float] = {}
        self._orders = 0
        self._closed = False
        self._server = socket.create_server(("127.0.0.1", 0))
        threading.Thread(target=self._accept, name="demo-channel", daemon=True).start()

    @property
    def port(self) -> int:
        """Where it listens."""
        return int(self._server.getsockname()[1])

    def close(self) -> None:
        """Hang up: services end."""
        self._closed = True
        self._server.close()
        with self._lock:
            for line in self._lines.values():
                line.close()
            self._lines.clear()

    def connected(self, service: str) -> bool:
        """Return whether a service has reported."""
        with self._lock:
            return service in self._lines

    def answers(self, gate: str, since: float) -> list[Answer]:
        """Return what the gate's guard answered from a moment on."""
        with self._lock:
            return self.by_gate[gate].since(since)

    def count(self, gate: str) -> tuple[int, int, Answer | None, str]:
        """Return how many were admitted and withheld, and the newest answer and the newest reason of a gate."""
        with self._lock:
            kept = self.by_gate[gate]
            return kept.admitted, kept.withheld, kept.last, kept.because

    def order(self, service: str, on: bool) -> float:
        """Begin or end a service's trouble; return the moment at which the service did.

        Raises:
            Trouble: it did not answer.
        """
        with self._lock:
            self._orders += 1
            number = self._orders
            line = self._lines.get(service)
            if line is not None:
                line.sendall(json.dumps({"id": number, "on": on}).encode() + b"\n")
                if self._lock.wait_for(lambda: number in self._done, ORDER_SECONDS_MAX):
                    return self._done.pop(number)
        raise Trouble(
            f"the service {service} does not answer the demonstration",
            "nobody knows what its guard does, so the demonstration ends",
            "read its log in the state folder",
            Exit.REFUSED,
        )

    def _accept(self) -> None:
        while True:
            try:
                line, _ = self._server.accept()
            except OSError:
                return
            threading.Thread(target=self._hear, args=(line,), name="demo-service", daemon=True).start()

    def _hear(self, line: socket.socket) -> None:
        try:
            with line.makefile("rb") as said:
                for text in said:
                    self._take(json.loads(text), line)
        except (OSError, ValueError):
            return

    def _take(self, said: dict[str, Any], line: socket.socket) -> None:
        with self._lock:
            if "did" in said:
                self._done[int(said["did"])] = float(said["at"])
            elif said.get("service") in self._gate_of:
                self._lines[said["service"]] = line
                admitted = [Answer(at, "", mode, evidence_ms) for at, mode, evidence_ms in said["a"]]
                denied = [Answer(at, cause) for at, cause in said["d"]]
                self.by_gate[self._gate_of[said["service"]]].take([*admitted, *denied], said["because"], time.monotonic())
            self._lock.notify_all()
