"""The conductor: starts everything, makes one trouble after another, and says how each gate took it.

It judges by what the guards in the services answered, never by what the monitor says of itself. A trouble begins when all gates
have been open and their breakers armed for a while, so that every effect is this trouble's. After a drift, the return to normal
is a drift too, which trips again. The conductor waits until that is over.
"""

from __future__ import annotations

import asyncio
import shutil
import sys
import threading
import time
from dataclasses import dataclass, field
from importlib import resources
from pathlib import Path

from aiokafka.admin import AIOKafkaAdminClient, NewTopic

from failshut.whole_file import write_whole
from failshut_console.demo import names
from failshut_console.demo.answers import Answer, closed_at, closed_for_good, slipped, steady_since
from failshut_console.demo.channel import Channel
from failshut_console.demo.detector_choice import LINE, with_detector
from failshut_console.demo.show import Show, result_table
from failshut_console.demo.troubles import WATCHED_SECONDS, Kind, Troubles
from failshut_console.exits import Exit, Trouble
from failshut_console.local.console_link import ConsoleLink, NoLink, gateway_installed
from failshut_console.local.stack import Stack, WorkerSettings
from failshut_console.local.state import State
from failshut_console.monitor.activation import FolderWatch
from failshut_console.monitor.gate_views import Looker
from failshut_console.terminal.live import Live
from failshut_console.terminal.progress import DownloadProgress
from failshut_servers.ports import free_port

SERVICES = {
    "refund-agent": (names.REFUND, "failshut_console.demo.services.refund_agent"),
    "payment-router": (names.ROUTE, "failshut_console.demo.services.payment_router"),
    "autoscaler": (names.SCALE, "failshut_console.demo.services.autoscaler"),
}
GATES = (names.REFUND, names.ROUTE, names.SCALE)
STEADY_SECONDS = 1.0
FIRST_SECONDS_MAX = 60.0
BACK_SECONDS_MAX = 45.0
BETWEEN_SECONDS = 2.0
POLL_SECONDS = 0.05
BROKEN_POLICY = "gate: fleet.scale\npermit: {ttl: 2 parsecs}\nconditions:\n  - heartbeat: {source: autoscaler, grace: 2s}\n"


@dataclass
class Result:
    """What became of a trouble at one gate. Times in seconds; None where it did not happen."""

    kind: Kind
    gate: str
    closed_s: float | None = None
    cause: str = ""
    slipped: int = 0
    back_s: float | None = None

    def closed(self, at: Answer | None, began: float) -> None:
        """Take the denial that was the closing; None: there was none."""
        self.closed_s, self.cause = (None, "") if at is None else (at.at - began, at.cause)

    @property
    def good(self) -> bool:
        """Whether the gate closed for the right cause within its bound, nothing slipped through, and it came back."""
        in_time = self.closed_s is not None and self.closed_s <= self.kind.bound_s
        return in_time and self.slipped == 0 and self.back_s is not None

    @property
    def wrong(self) -> str:
        """What is missing, in words; empty if nothing is."""
        if self.closed_s is None:
            return f"{self.gate} did not close for {' or '.join(self.kind.causes)}"
        if self.closed_s > self.kind.bound_s:
            return f"{self.gate} closed after its bound"
        if self.slipped:
            return f"{self.slipped} executions slipped through at {self.gate}"
        return "" if self.back_s is not None else f"{self.gate} did not come back"

    def row(self) -> tuple[str, ...]:
        """Return a row of the final table."""
        return (
            self.kind.name,
            self.gate,
            self.kind.causes[0],
            self.cause or "-",
            "never" if self.closed_s is None else f"{self.closed_s:.2f} s",
            f"{self.kind.bound_s:.1f} s",
            str(self.slipped),
            "never" if self.back_s is None else f"{self.back_s:.1f} s",
            "ok" if self.good else "MISSED",
        )


@dataclass
class Conductor:
    """One demonstration. `seconds`: one round in at most so many; 0: round after round. `detector`: for refund amounts."""

    state: State
    seconds: int = 0
    detector: str = ""
    link: NoLink = field(default_factory=NoLink)  # into the console, once its gateway answers
    results: list[Result] = field(default_factory=list)

    def run(self) -> Exit:
        """Start everything, make trouble, and stop everything.

        Raises:
            Trouble: something did not start.
            KeyboardInterrupt: whoever watches has seen enough; everything is stopped.
        """
        policies_of_gates = self._policies()
        self._fresh()
        settings = WorkerSettings(session_timeout_ms=3_000, lag_every_ms=500, snapshot_every_ms=2_000)
        live = Live(enabled=sys.stdout.isatty())
        with Stack(self.state, self._say, DownloadProgress(), settings) as stack:
            channel = Channel({service: gate for service, (gate, _) in SERVICES.items()})
            try:
                self._start(stack, channel, policies_of_gates)
                policies = PolicyFolder(stack, self.state.folder / "policies")
                looker = Looker(stack.valkey.url, str(self.state.jwks), installation=stack.installation)
                show = Show(channel, looker, GATES, stack.servers, live)
                if gateway_installed():
                    port = free_port()
                    self.link = ConsoleLink(stack.start_gateway(port), port, self.state, show.keep)
                with live:
                    show.start()
                    try:
                        self._rounds(stack, channel, show, policies)
                    finally:
                        show.stop()
            finally:
                channel.close()
            return self._sum_up(live) if self.seconds else Exit.DONE

    # --- starting ---

    def _fresh(self) -> None:
        """Begin with an empty log, so that each demonstration shows the same. Keys and logs' folder are its own."""
        if self.state.runtime().pid:
            raise Trouble(
                f"a demonstration runs already on {self.state.folder}",
                "it is left alone",
                "stop it first, or name another --state",
            )
        for part in ("kafka", "valkey", "workers", "services", "policies"):
            shutil.rmtree(self.state.folder / part, ignore_errors=True)

    def _policies(self) -> dict[str, str]:
        """Return every policy by file name, with the detector that was asked for."""
        found = {}
        for source in resources.files("failshut_console.demo").joinpath("policies").iterdir():
            text = source.read_text(encoding="utf-8")
            found[source.name] = with_detector(text, self.detector) if self.detector and LINE in text else text
        return found

    def _start(self, stack: Stack, channel: Channel, policies: dict[str, str]) -> None:
        stack.start_servers()
        asyncio.run(_make_topic(stack.kafka.bootstrap))
        folder = self.state.folder / "policies"
        folder.mkdir(parents=True)
        for file, text in policies.items():
            (folder / file).write_text(text, encoding="utf-8")
        stack.start_worker("worker-1")
        for service, (_, module) in SERVICES.items():
            options = {
                "broker": stack.kafka.url,
                "store": stack.valkey.url,
                "jwks": str(self.state.jwks),
                "conductor": str(channel.port),
            }
            arguments = [part for name, value in options.items() for part in (f"--{name}", value)]
            stack.start_child(service, ["-m", module, *arguments], lambda service=service: channel.connected(service))  # type: ignore[misc]
        self._say("started a monitor and three services: " + ", ".join(SERVICES))

    @staticmethod
    def _say(line: str) -> None:
        print(line, flush=True)

    # --- rounds ---

    def _rounds(self, stack: Stack, channel: Channel, show: Show, policies: PolicyFolder) -> None:
        show.now("waiting for evidence: every gate is closed until there is some")
        first_s_max = max(self.seconds, FIRST_SECONDS_MAX)
        if not self._wait_steady(channel, time.monotonic() + first_s_max, stack):
            closed = ", ".join(f"{gate} ({channel.count(gate)[3]})" for gate in GATES if not _is_open(channel, gate))
            raise Trouble(
                f"not every gate opened within {first_s_max:g} s: {closed}",
                "the demonstration cannot begin",
                f"read the logs in {self.state.folder}",
                Exit.REFUSED,
            )
        deadline = time.monotonic() + self.seconds if self.seconds else float("inf")
        kinds = Troubles(stack, channel, policies.set_broken, self.detector).all()
        while True:
            for number, kind in enumerate(kinds, 1):
                self._trouble(f"trouble {number} of {len(kinds)}", kind, stack, channel, show, deadline)
            if self.seconds:
                return

    def _trouble(self, label: str, kind: Kind, stack: Stack, channel: Channel, show: Show, deadline: float) -> None:
        results = [Result(kind, gate) for gate in kind.gates]
        self.results += results
        if not self._wait_steady(channel, self._latest(deadline), stack):
            show.result(f"{label}: {kind.title}. Not made: the gates were not open in time", False)
            return
        show.now(f"{label}: {kind.title} (bound {kind.bound_s:.1f} s: {kind.bound_is})")
        began_ms = int(time.time() * 1000)
        began = kind.begin()
        self._wait_closed(results, channel, began, min(deadline, began + kind.bound_s + 1.0))
        # A moment more, so that what slips through after the bound is seen; a fleeting trouble is over by itself.
        ended = time.monotonic()
        if not kind.fresh_is_fine:
            while (ended := time.monotonic()) < min(deadline, began + min(kind.bound_s, 2.5) + 0.5):
                time.sleep(POLL_SECONDS)
        kind.end()
        show.now(f"{label}: {kind.title}. {_closed_line(results, kind)}. Waiting until the policy lets it come back")
        self._wait_back(results, channel, ended, self._latest(deadline), stack)
        for result in results:
            answers = channel.answers(result.gate, began)
            until = ended if not kind.fresh_is_fine else float("inf")
            if kind.runs_out:
                result.closed(closed_for_good([one for one in answers if one.at < until], frozenset(kind.causes)), began)
            result.slipped = slipped(answers, began + kind.bound_s, until, began_ms if kind.fresh_is_fine else None)
            result.slipped += self._between(answers, result, began, until, kind)
        show.result(f"{label}: {kind.title}. {_final_line(results, kind)}", all(result.good for result in results))

    def _latest(self, deadline: float) -> float:
        """Return until when to wait for gates to open: who gave the round its seconds has said how slow this machine may be."""
        return deadline if self.seconds else time.monotonic() + BACK_SECONDS_MAX

    @staticmethod
    def _between(answers: list[Answer], result: Result, began: float, until: float, kind: Kind) -> int:
        """Return how many executions were admitted between closing and the end of the trouble: it did not hold."""
        if result.closed_s is None or kind.fresh_is_fine:
            return 0
        closed = began + result.closed_s
        return slipped(answers, closed, min(until, began + kind.bound_s))

    def _wait_closed(self, results: list[Result], channel: Channel, began: float, until: float) -> None:
        while time.monotonic() < until:
            for result in results:
                if result.closed_s is None:
                    found = closed_at(channel.answers(result.gate, began), frozenset(result.kind.causes))
                    result.closed(found, began)
            if all(result.closed_s is not None for result in results):
                return
            time.sleep(POLL_SECONDS)

    def _wait_back(self, results: list[Result], channel: Channel, ended: float, until: float, stack: Stack) -> None:
        while time.monotonic() < until:
            for result in results:
                since = steady_since(channel.answers(result.gate, ended))
                steady = since is not None and time.monotonic() - since >= STEADY_SECONDS
                result.back_s = since - ended if steady and since is not None else None
            if all(result.back_s is not None for result in results):
                return
            self._look_after(stack)
            time.sleep(POLL_SECONDS)

    def _wait_steady(self, channel: Channel, until: float, stack: Stack) -> bool:
        began = time.monotonic()
        while time.monotonic() < until:
            now = time.monotonic()
            starts = [steady_since(channel.answers(gate, now - 2 * STEADY_SECONDS)) for gate in GATES]
            if now - began >= BETWEEN_SECONDS and all(start is not None and now - start >= STEADY_SECONDS for start in starts):
                return True
            self._look_after(stack)
            time.sleep(POLL_SECONDS)
        return False

    def _look_after(self, stack: Stack) -> None:
        """Tell of the console; end the demonstration if a process ended by itself: what follows would show nothing."""
        self.link.look()
        for child in (*stack.children, *stack.workers):
            if not child.running:
                raise Trouble(
                    f"{child.name} ended by itself: {child.last_words()}",
                    "its gates are closed or lapse",
                    f"read {child.log_path}",
                    Exit.REFUSED,
                )

    # --- the end ---

    def _sum_up(self, live: Live) -> Exit:
        live.console.print()
        live.console.print(result_table([result.row() for result in self.results]))
        missed = [result.wrong or "not made" for result in self.results if not result.good]
        if missed:
            live.console.print("missed: " + "; ".join(missed), style="bold red")
            return Exit.REFUSED
        live.console.print(f"every closing was seen ({len(self.results)}), and no execution slipped through")
        return Exit.DONE


class PolicyFolder:
    """The demonstration's policies, followed as `failshut up` follows its own."""

    def __init__(self, stack: Stack, folder: Path) -> None:
        self._stack = stack
        self._watch = FolderWatch(folder)
        self._file = folder / "fleet-scale.yaml"
        self._good = self._file.read_text(encoding="utf-8")
        self._follow()
        threading.Thread(target=self._follow_on, name="demo-policies", daemon=True).start()

    def set_broken(self, broken: bool) -> float:
        """Write a policy file that is not valid, or the good one again; return when that was done."""
        write_whole(self._file, (BROKEN_POLICY if broken else self._good).encode())
        return time.monotonic()

    def _follow(self) -> None:
        files = self._watch.changed()
        if files:
            self._stack.activate(files, "the demonstration's policies changed")

    def _follow_on(self) -> None:
        while True:
            time.sleep(WATCHED_SECONDS)
            try:
                self._follow()
            except Trouble:
                self._watch.forget()


async def _make_topic(bootstrap: str) -> None:
    admin = AIOKafkaAdminClient(bootstrap_servers=bootstrap)
    await admin.start()
    try:
        await admin.create_topics([NewTopic(names.ROUTER_TOPIC, 2, 1)])
    finally:
        await admin.close()


def _is_open(channel: Channel, gate: str) -> bool:
    last = channel.count(gate)[2]
    return last is not None and last.admitted


def _closed_line(results: list[Result], kind: Kind) -> str:
    times = [result.closed_s for result in results if result.closed_s is not None]
    if len(times) < len(results):
        return "NOT closed"
    return f"Closed in {max(times):.2f} s (bound {kind.bound_s:.1f} s)"


def _final_line(results: list[Result], kind: Kind) -> str:
    lost = sum(result.slipped for result in results)
    back = [result.back_s for result in results if result.back_s is not None]
    came = f"back in {max(back):.1f} s" if len(back) == len(results) else "NOT back"
    return f"{_closed_line(results, kind)}, {lost} executions slipped through, {came}"
