"""What a worker counts and measures, for Prometheus.

One object per worker with a registry of its own, so that two workers in one process (as in tests) do not share numbers.
Labels are bounded: topics by role, partitions by their count, gates up to `GATES_MAX` (the rest together as "other"), reasons
and causes by fixed lists. Names follow Prometheus' conventions: base units, `_total` for counters.

These are for people and alerts. Nothing here decides: a gate closes because evidence time stops, not because a gauge says so.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from types import TracebackType
from typing import Final, Self

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram

from failshut.cause import Cause
from failshut_breakers.decisions.decision import Decision
from failshut_breakers.gate.tally import Tally
from failshut_streams.codecs import DeadKind
from failshut_streams.endpoint import Endpoint, Vitals

GATES_MAX: Final = 200
"""Gates with labels of their own; a policy bundle has at most a thousand."""
OTHER: Final = "other"

_CAUSES = frozenset(Cause) | {""}
_CHUNK_SECONDS = (0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0)
_SNAPSHOT_SECONDS = (0.001, 0.005, 0.01, 0.05, 0.1, 0.5, 1.0, 5.0, 10.0)

TALLY = ("gate", "condition")

Place = tuple[str, int]
"""Topic role and partition."""


class MetricsUnavailable(Exception):
    """The port for metrics cannot be used."""

    told_without_traceback = True


class Metrics:
    """A worker's numbers. Every method is cheap and never raises over a label."""

    def __init__(self, registry: CollectorRegistry | None = None) -> None:
        self.registry = CollectorRegistry() if registry is None else registry
        self._gates: set[str] = set()
        self._shown: dict[Gauge, set[tuple[str, ...]]] = {}
        self._endpoint: Endpoint | None = None
        self.vitals = Vitals()
        self.port = 0
        self._make_router_metrics()
        self._make_governor_metrics()
        self._make_evidence_metrics()
        self._make_side_metrics()

    # --- the router ---

    def read(self, role: str, records: int, readings: int, faults: int) -> None:
        """Count what a chunk of a front-door topic held."""
        self._records.labels(role).inc(records)
        self._readings.labels(role).inc(readings)
        self._faults.labels(role).inc(faults)

    def dead_letter(self, role: str, kind: DeadKind) -> None:
        """Count a record that could not be read."""
        self._dead.labels(role, str(kind)).inc()

    def runs_written(self, runs: int) -> None:
        """Count runs that Kafka acknowledged."""
        self._runs.inc(runs)

    def router_chunk(self, seconds: float) -> None:
        """Note how long one chunk took to route."""
        self._router_seconds.observe(seconds)

    # --- the governor ---

    def judged(self, records: int) -> None:
        """Count evidence records that a governor has judged."""
        self._judged.inc(records)

    def decided(self, decisions: Iterable[Decision]) -> None:
        """Count decisions."""
        for decision in decisions:
            cause = "" if decision.cause is None else str(decision.cause)
            self._decisions.labels(self._gate(decision.gate), str(decision.kind), cause if cause in _CAUSES else OTHER).inc()

    def governor_chunk(self, seconds: float) -> None:
        """Note how long one chunk of evidence took to judge."""
        self._governor_seconds.observe(seconds)

    def effect(self, what: str, count: int) -> None:
        """Count results: `written`, `refused` and why, `store_unreachable`, `future_evidence`, `lapsed_unsigned`."""
        self._effects.get(what, self._effects[OTHER]).inc(count)

    def snapshot(self, partition: int, size_bytes: int, seconds: float, time_s: float) -> None:
        """Note a snapshot of an evidence partition: its size, how long it took, and when it was made (Unix time)."""
        self._snapshot_bytes.labels(str(partition)).set(size_bytes)
        self._snapshot_time.labels(str(partition)).set(time_s)
        self._snapshot_seconds.observe(seconds)

    # --- the age of evidence ---

    def evidence(
        self,
        now_ms: int,
        evidence_ms: Mapping[int, int],
        newest_ms: Mapping[Place, int],
        gaps: Iterable[Place],
        unvouched: Iterable[Place],
    ) -> None:
        """Set what is known of time now.

        Args:
            now_ms: the wall clock.
            evidence_ms: evidence time of each evidence partition that this worker governs.
            newest_ms: newest mark of each front-door partition, the oldest where several governors differ.
            gaps: front-door partitions with evidence that no run has brought.
            unvouched: front-door partitions that have no mark at all: nobody writes to them, or nobody routes them.
        """
        self._replace(
            self._evidence_age,
            {(str(partition),): (now_ms - at) / 1000 if at else float("inf") for partition, at in evidence_ms.items()},
        )
        self._replace(
            self._mark_age, {(role, str(partition)): (now_ms - at) / 1000 for (role, partition), at in newest_ms.items()}
        )
        self._replace(self._gaps, {(role, str(partition)): 1.0 for role, partition in gaps})
        self._replace(self._unvouched, {(role, str(partition)): 1.0 for role, partition in unvouched})

    def open_transactions(self, ages_ms: Mapping[Place, int]) -> None:
        """Set, for each partition that waits for an open transaction, how long that has been open."""
        self._replace(
            self._transaction_age, {(role, str(partition)): age_ms / 1000 for (role, partition), age_ms in ages_ms.items()}
        )

    def unsealed(self, count: int) -> None:
        """Set how many open permits found no room in the newest seals of this worker's partitions."""
        self._unsealed.set(count)

    def gates(self, now_ms: int, said: Iterable[tuple[Decision, int]]) -> None:
        """Set, for each gate that this worker governs, whether it is open, in which state, and why not.

        Args:
            now_ms: the wall clock.
            said: the last decision about each gate, with the time (ms) at which what it permits ends; 0 for a closing.
        """
        state: dict[tuple[str, ...], float] = {}
        remaining: dict[tuple[str, ...], float] = {}
        causes: dict[tuple[str, ...], float] = {}
        breakers: dict[tuple[str, ...], float] = {}
        totals = {True: 0, False: 0}
        for decision, ends_ms in said:
            is_open = ends_ms > now_ms
            totals[is_open] += 1
            gate = self._gate(decision.gate)
            if gate == OTHER:
                continue  # in the totals alone: a sum of states says nothing
            state[gate,] = float(is_open)
            remaining[gate,] = max(0, ends_ms - now_ms) / 1000
            breakers[gate, str(decision.breaker)] = 1.0
            if not is_open:
                cause = Cause.LAPSED if decision.cause is None else decision.cause
                causes[gate, str(cause) if cause in _CAUSES else OTHER] = 1.0
        self._replace(self._gate_open, state)
        self._replace(self._gate_remaining, remaining)
        self._replace(self._gate_cause, causes)
        self._replace(self._gate_breaker, breakers)
        self._gates_total.labels("open").set(totals[True])
        self._gates_total.labels("closed").set(totals[False])

    def false_trips(self, tallies: Iterable[tuple[str, str, Tally]]) -> None:
        """Set, for each gate and condition with a budget of false trips, what came of it. Gates beyond the bound add up."""
        unconfirmed: dict[tuple[str, ...], float] = {}
        allowed: dict[tuple[str, ...], float] = {}
        for gate, condition, tally in tallies:
            labels = (self._gate(gate), condition)
            if labels[0] == OTHER:
                labels = (OTHER, OTHER)
            unconfirmed[labels] = unconfirmed.get(labels, 0.0) + tally.unconfirmed
            allowed[labels] = allowed.get(labels, 0.0) + tally.allowed
        self._replace(self._unconfirmed_trips, unconfirmed)
        self._replace(self._allowed_trips, allowed)

    def readings_of_control(self, disputed: Iterable[str], unread: int, operators_differ: bool) -> None:
        """Set how this worker's reading of control, and other workers' readings, differ.

        Args:
            disputed: gates of this worker's governors for which some router's runs do not count. Beyond the bound they add up.
            unread: gates whose policies this worker cannot use.
            operators_differ: this worker's operators file names other keys than control does, or cannot be read.
        """
        counts: dict[tuple[str, ...], float] = {}
        for gate in disputed:
            label = (self._gate(gate),)
            counts[label] = counts.get(label, 0.0) + 1
        self._replace(self._disputed, counts)
        self._unread.set(unread)
        self._operators_differ.set(operators_differ)

    def owned(self, counts: Mapping[str, int]) -> None:
        """Set how many partitions of each topic (by role) this worker has: whoever sums over workers sees unowned ones."""
        for role, count in counts.items():
            self._owned.labels(role).set(count)

    # --- marks, outcomes, lag ---

    def mark(self, written: bool) -> None:
        """Count a time mark."""
        self._marks.labels("written" if written else "failed").inc()

    def outcomes(self, what: str, count: int) -> None:
        """Count what the mover did: `moved`, `malformed`, `dropped`, `lost`, `store_unreachable`, `broker_unreachable`."""
        if what in ("moved", "malformed", "dropped"):
            self._outcomes.labels(what).inc(count)
        elif what == "lost":
            self._outcomes_lost.inc(count)
        else:
            self._outcome_trouble.labels(what if what in ("store_unreachable", "broker_unreachable") else OTHER).inc(count)

    def lag_sample(self, written: bool) -> None:
        """Count a sample of a consumer group."""
        self._samples.labels("written" if written else "failed").inc()

    # --- the endpoint ---

    def serve(self, port: int, address: str = "127.0.0.1") -> int:
        """Serve /metrics, /healthz and /ready from a thread; return the port, which a `port` of 0 lets the system choose.

        Raises:
            MetricsUnavailable: the port is taken or not allowed.
        """
        if self._endpoint is not None:
            raise RuntimeError("metrics are served already")
        try:
            self._endpoint = Endpoint(self.registry, self.vitals, port, address)
        except (OSError, OverflowError) as error:
            raise MetricsUnavailable(
                f"metrics cannot be served on {address}:{port}: {error}; take another --metrics-port or --metrics-address"
            ) from error
        self.port = self._endpoint.port
        return self.port

    def close(self) -> None:
        """Stop serving."""
        endpoint, self._endpoint = self._endpoint, None
        if endpoint is not None:
            endpoint.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        self.close()

    # --- inside ---

    def _replace(self, gauge: Gauge, values: Mapping[tuple[str, ...], float]) -> None:
        """Set a gauge's values and take away those of other labels: a partition that has gone elsewhere has no age here."""
        for labels, value in values.items():
            gauge.labels(*labels).set(value)
        for labels in self._shown.get(gauge, set()) - values.keys():
            gauge.remove(*labels)
        self._shown[gauge] = set(values)

    def _gate(self, gate: str) -> str:
        """Return the label of a gate: its name, or "other" once there are too many."""
        if gate in self._gates:
            return gate
        if len(self._gates) >= GATES_MAX:
            return OTHER
        self._gates.add(gate)
        return gate

    def _counter(self, name: str, text: str, *labels: str) -> Counter:
        return Counter(f"failshut_{name}_total", text, labels, registry=self.registry)

    def _gauge(self, name: str, text: str, *labels: str) -> Gauge:
        return Gauge(f"failshut_{name}", text, labels, registry=self.registry)

    def _histogram(self, name: str, text: str, buckets: tuple[float, ...]) -> Histogram:
        return Histogram(f"failshut_{name}", text, buckets=buckets, registry=self.registry)

    def _make_router_metrics(self) -> None:
        self._records = self._counter("records_read", "Records read from a front-door topic.", "topic")
        self._readings = self._counter("readings", "Readings decoded from a front-door topic.", "topic")
        self._faults = self._counter("faults", "Readings that no detector may see, and records that cannot be read.", "topic")
        self._dead = self._counter("dead_letters", "Records written to the dead-letter topic.", "topic", "reason")
        self._runs = self._counter("runs_written", "Evidence records that Kafka acknowledged.")
        self._router_seconds = self._histogram("router_chunk_seconds", "Time to route one fetched chunk.", _CHUNK_SECONDS)

    def _make_governor_metrics(self) -> None:
        self._judged = self._counter("evidence_records_judged", "Evidence records that a governor has judged.")
        self._decisions = self._counter("decisions", "Decisions.", "gate", "kind", "cause")
        self._governor_seconds = self._histogram("governor_chunk_seconds", "Time to judge one fetched chunk.", _CHUNK_SECONDS)
        self._effects = {
            "written": self._counter("statements_written", "Permits and closings that the store took."),
            "refused": self._counter("statements_refused", "Permits and closings older than what the store holds."),
            "refused_foreign": self._counter("refused_by_foreign_fence", "Permits over a fence that no monitor wrote."),
            "refused_later_term": self._counter("refused_by_later_term", "Refused by a fence of a term that is not open."),
            "refused_ahead": self._counter("refused_by_fence_ahead", "Refused by a fence ahead of the log, for long."),
            "store_unreachable": self._counter("store_unreachable", "Writes to the store that got no answer."),
            "future_evidence": self._counter("future_evidence", "Permits not signed: their evidence lies in the future."),
            "lapsed_unsigned": self._counter("lapsed_unsigned", "Permits not signed: they would have lapsed already."),
            "seal_written": self._counter("seals_written", "Seals that the store took."),
            "seal_older": self._counter("seals_refused", "Seals older than what the store holds."),
            "seal_differs": self._counter("seals_differing", "Seals that another monitor made otherwise at the same position."),
            OTHER: self._counter("other_effects", "Results that have no metric of their own."),
        }
        self._gate_open = self._gauge("gate_open", "1 where the gate is open, 0 where it is closed.", "gate")
        self._gate_remaining = self._gauge("gate_remaining_seconds", "For how long what is permitted goes on.", "gate")
        self._gate_cause = self._gauge("gate_closed", "1 for the cause of a gate that is closed.", "gate", "cause")
        self._gate_breaker = self._gauge("gate_breaker", "1 for the state of the gate's breaker.", "gate", "state")
        self._gates_total = self._gauge("gates", "Gates that this worker governs.", "state")
        self._unsealed = self._gauge(
            "unsealed_permits", "Open permits that no seal renews, because a seal has no room for them."
        )
        self._snapshot_bytes = self._gauge("snapshot_bytes", "Size of the newest snapshot.", "partition")
        self._snapshot_time = self._gauge("snapshot_timestamp_seconds", "When the newest snapshot was made.", "partition")
        self._snapshot_seconds = self._histogram("snapshot_seconds", "Time to take a snapshot.", _SNAPSHOT_SECONDS)

    def _make_evidence_metrics(self) -> None:
        self._evidence_age = self._gauge("evidence_age_seconds", "Wall clock less evidence time.", "partition")
        self._mark_age = self._gauge("mark_age_seconds", "Wall clock less newest mark.", "topic", "partition")
        self._gaps = self._gauge("gap", "1 where evidence of a partition is missing.", "topic", "partition")
        self._unvouched = self._gauge("unvouched", "1 where no mark of a partition has come.", "topic", "partition")
        self._disputed = self._gauge("disputed", "1 where a router reads the gate's policy differently.", "gate")
        self._unread = self._gauge("policies_unread", "Gates whose policies this worker cannot use.")
        self._operators_differ = self._gauge("operators_differ", "1 where the operators file and control name other keys.")
        self._transaction_age = self._gauge(
            "open_transaction_age_seconds",
            "Age of the open transaction that a partition waits for; nothing behind it is evidence yet.",
            *("topic", "partition"),
        )
        self._unconfirmed_trips = self._gauge(
            "unconfirmed_trips", "Trips of a condition with a budget of false trips whose cause nobody confirmed.", *TALLY
        )
        self._allowed_trips = self._gauge("allowed_false_trips", "False trips that the budget allows until now.", *TALLY)
        self._owned = self._gauge("owned_partitions", "Partitions that this worker has.", "topic")

    def _make_side_metrics(self) -> None:
        self._marks = self._counter("marks", "Time marks.", "result")
        self._outcomes = self._counter("outcomes", "Entries of the streams of outcomes.", "result")
        self._outcomes_lost = self._counter("outcomes_lost", "Outcomes that guards say they lost before they sent them.")
        self._outcome_trouble = self._counter("outcome_move_failures", "Failed attempts to move outcomes.", "why")
        self._samples = self._counter("lag_samples", "Samples of watched consumer groups.", "result")

    def watch(self, name: str, text: str, read: Callable[[], float]) -> None:
        """Add a gauge `failshut_NAME` that is read when Prometheus asks. Raises ValueError where there is one of that name."""
        self._gauge(name, text).set_function(read)
