"""What the store says about the gates, as a guard would judge it: for screens, never for deciding.

A gate is shown as open only if a guard would admit. There is a permit for this gate, it verifies with the monitor's
keys, and it has not run out. Everything else is shown as closed, with its cause. If the keys or the store are missing,
nothing can be known, and the gate is shown as unknown.
"""

from __future__ import annotations

import time
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from itertools import islice
from pathlib import Path
from typing import Any

import redis

from failshut import Cause, Closing, Permit, verify
from failshut.seal import Seal, seal_name, verify_seal
from failshut.signing import KeySet, TokenError
from failshut.store.address import StoreAddress
from failshut.store.connection import connect
from failshut.store.names import Names, check_gate
from failshut.store.state import WrongStore
from failshut_breakers.words import printable
from failshut_console.exits import Exit, Trouble, unreachable
from failshut_console.monitor.bypass_view import BypassView, bypass_of
from failshut_console.monitor.store_questions import ask_gate, ask_seal, ask_worker, asked, whole
from failshut_console.monitor.worker_lines import Worker, read_hints, read_worker

OPEN, CLOSED, UNKNOWN = "OPEN", "CLOSED", "UNKNOWN"
STALE_MS = 1_500
"""Evidence older than this is worth a word: marks come several times a second."""
GATES_MAX, WORKERS_MAX = 100_000, 1_000
"""So many are looked at."""


@dataclass(frozen=True, slots=True)
class View:
    """One gate on a screen. Times in milliseconds; counts are None where nobody reports them."""

    gate: str
    state: str
    breaker: str = "?"
    cause: str = ""
    because: str = ""
    mode: str = ""
    epoch: str = ""
    life_ms: int | None = None
    lapsed: bool = False
    readings: tuple[tuple[str, str, str], ...] = ()
    policy: str = ""
    evidence_ms: int = 0
    admitted: int | None = None
    withheld: int | None = None
    refused: str = ""  # why the store takes nothing that a monitor says of the gate
    bypass: BypassView | None = None  # the one in force, where the store names it
    ttl_ms: int = 0  # how long a permit of it lives; 0 where it has none

    @property
    def permit(self) -> str:
        """The permit's remaining life, in words."""
        if self.life_ms is not None:
            return f"{max(0, self.life_ms) / 1000:.1f} s"
        return "lapsed" if self.lapsed else "-"

    def as_json(self) -> dict[str, Any]:
        """Return it for a machine."""
        return asdict(self)


@dataclass(frozen=True, slots=True)
class Look:
    """Everything that one look at the store found."""

    now_ms: int
    gates: tuple[View, ...]
    workers: tuple[Worker, ...]
    store: str = ""

    @property
    def evidence_ms(self) -> int:
        """Evidence time: the oldest front-door partition's newest mark, as workers report it, or as a newer decision has it.

        0 where neither is known.
        """
        newest: dict[str, int] = {}
        for worker in self.workers:
            for partition, mark_ms in worker.evidence.items():
                newest[partition] = max(mark_ms, newest.get(partition, 0))
        return max([min(newest.values(), default=0), *(view.evidence_ms for view in self.gates)])

    @property
    def troubles(self) -> tuple[str, ...]:
        """Where workers read control differently from each other: a line each, with the worker that says so."""
        return tuple(f"worker {worker.id}: {trouble}" for worker in self.workers for trouble in worker.troubles)

    @property
    def evidence_age_ms(self) -> int | None:
        """How old the evidence is; None where no worker reports."""
        return max(0, self.now_ms - self.evidence_ms) if self.evidence_ms else None

    @property
    def waits(self) -> str:
        """The open transaction that evidence waits for, in words, the oldest where there are several; empty without one."""
        found = [(since_ms, place, at) for worker in self.workers for place, (at, since_ms) in worker.transactions.items()]
        if not found:
            return ""
        since_ms, place, at = min(found)
        others = len({place for _, place, _ in found}) - 1
        more = f", {others} more partitions wait" if others else ""
        return f"{place} waits for a transaction open for {max(0, self.now_ms - since_ms) / 1000:.0f} s (offset {at}){more}"

    def as_json(self) -> dict[str, Any]:
        """Return it for a machine."""
        return {
            "now_ms": self.now_ms,
            "evidence_age_ms": self.evidence_age_ms,
            "waits": self.waits,
            "workers": [worker.id for worker in self.workers],
            "troubles": {worker.id: list(worker.troubles) for worker in self.workers if worker.troubles},
            "gates": [view.as_json() for view in self.gates],
        }


class Looker:
    """Looks at one store. Each question is one attempt with one time limit."""

    def __init__(self, store: str, jwks: str = "", timeout_s: float = 1.0, *, installation: str = "") -> None:
        if not store:
            raise Trouble(
                "no store is known: no `failshut up` runs here and --store was not given",
                "nobody knows here whether a gate is open",
                "start a monitor (failshut up), or name its store: --store redis://HOST:PORT/0",
            )
        try:
            self._redis = connect(store, timeout_s)
        except ValueError as error:
            raise Trouble(f"--store: {error}", "nothing was read", "docs/connecting.md says how it is written") from error
        self.store = StoreAddress.parse(store).name
        self._given = installation
        self._names: Names | None = None
        self._jwks = jwks
        self._keys: KeySet | None = None
        self._server = ""

    def look(self, only: Iterable[str] = ()) -> Look:
        """Read every gate (or those named) and every worker.

        Raises:
            Trouble: the store did not answer.
        """
        try:
            return self._look(tuple(only))
        except WrongStore as error:
            self._server = ""
            raise unusable(error) from error
        except (redis.RedisError, OSError) as error:
            self._server = ""
            raise unreachable(
                f"the store {self.store} does not answer: {error}", "start it, or name another one with --store"
            ) from error

    def close(self) -> None:
        """Close the connection."""
        self._redis.close()

    def server(self) -> str:
        """Return the store's name and version; empty where it does not say."""
        if not self._server:
            try:
                said: Any = self._redis.info("server")
            except (redis.RedisError, OSError):
                return ""
            name, version = ("Valkey", said.get("valkey_version")) if "valkey_version" in said else ("Redis", None)
            self._server = f"{name} {version or said.get('redis_version', '?')}"
        return self._server

    @property
    def names(self) -> Names:
        """The installation's names in the store: what was given, or what the key set names.

        Raises:
            Trouble: neither says.
        """
        self._read_keys()
        installation = self._given or (self._keys.installation if self._keys is not None else "")
        if not installation:
            raise Trouble(
                f"{self._jwks} names no installation" if self._jwks else "no installation is known",
                "nobody knows here whether a gate is open",
                "give the monitor's JWKS file (--jwks; failshut term open writes the id there), or --installation ID",
            )
        if self._names is None or self._names.installation != installation:
            self._names = Names(installation)
        return self._names

    def _look(self, only: tuple[str, ...]) -> Look:
        ours = self.names
        names: Any = only or self._members(ours)
        worker_keys = list(islice(self._redis.scan_iter(match=ours.workers, count=500), WORKERS_MAX))
        told = asked(self._redis, worker_keys, ask_worker)
        answers = asked(self._redis, names, lambda pipe, gate: ask_gate(pipe, ours, gate))
        seals = self._seals(ours, answers[::3], names)
        now_ms = int(time.time() * 1000)
        workers = tuple(worker for answer in told if (worker := read_worker(whole(answer))) is not None)
        found = Look(now_ms, (), workers, self.store)
        refused = {gate: words for worker in workers for gate, words in worker.refused.items()}
        views = []
        for index, gate in enumerate(names):
            record, pttl_ms, status = answers[3 * index : 3 * index + 3]
            record = None if pttl_ms == -2 else whole(record)
            hints = read_hints(whole(status))
            view = self._view(gate, record, pttl_ms, hints, found, seals)
            view = replace(view, bypass=bypass_of(hints, view.epoch, now_ms))
            if gate in refused:
                view = replace(view, refused=refused[gate], because=f"{refused[gate]} ({view.because})")
            views.append(_printed(view))
        return Look(now_ms, tuple(views), workers, self.store)

    def _members(self, ours: Names) -> list[str]:
        """Return the gates that the store names, so many at most; what can be no gate's name is left out."""
        names = set()
        for member in islice(self._redis.sscan_iter(ours.gates, count=500), GATES_MAX):
            try:
                names.add(check_gate(member.decode("utf-8", "replace")))
            except ValueError:
                continue
        return sorted(names)

    def _read_keys(self) -> None:
        if self._keys is None and self._jwks:
            try:
                held = KeySet.load(Path(self._jwks))
                self._keys = held.of(self._given) if self._given else held
            except (OSError, ValueError):
                self._keys = None

    def _seals(self, ours: Names, records: Sequence[Any], names: Sequence[str]) -> dict[int, tuple[Seal, int]]:
        """Return the verified seals, with their remaining life in ms, of the partitions in which permits live by them."""
        if self._keys is None:
            return {}
        partitions = set()
        for gate, record in zip(names, records, strict=True):
            try:
                statement = verify(whole(record), self._keys, gate)
            except TokenError:
                continue
            if isinstance(statement, Permit) and statement.sealed:
                partitions.add(statement.partition)
        wanted = sorted(partitions)
        answers = asked(self._redis, wanted, lambda pipe, partition: ask_seal(pipe, ours, partition))
        seals = {}
        for index, partition in enumerate(wanted):
            token, pttl_ms = answers[2 * index : 2 * index + 2]
            try:
                seal = verify_seal(whole(token), self._keys)
            except TokenError:
                continue
            if seal.partition == partition and isinstance(pttl_ms, int):
                seals[partition] = seal, pttl_ms
        return seals

    def _view(
        self,
        gate: str,
        record: bytes | None,
        pttl_ms: int,
        status: dict[str, Any],
        look: Look,
        seals: Mapping[int, tuple[Seal, int]],
    ) -> View:
        view = _hinted(gate, status)
        if record is None:
            return _without_permit(view, look)
        if self._keys is None:
            why = f"the key set {self._jwks} cannot be read" if self._jwks else "no key set is known: give --jwks"
            return replace(view, because=f"a record is there, but {why}", cause="")
        try:
            statement = verify(record.decode("utf-8", "replace"), self._keys, gate)
        except TokenError as error:
            return replace(view, state=CLOSED, cause=error.cause.value, because=str(error))
        if isinstance(statement, Closing):
            return _closed(view, statement)
        if statement.sealed:
            return _renewed(view, statement, pttl_ms, seals.get(statement.partition), look)
        return _permitted(view, statement, pttl_ms, str(status.get("because", "")), look)


def unusable(error: WrongStore) -> Trouble:
    """Return the error that this store must not be used, or not now."""
    means = "guards withhold with it, and no permit is written to it"
    do = "name a store that is a primary by itself: --store (docs/connecting.md)"
    return Trouble(str(error), means, do, Exit.REFUSED if error.lasting else Exit.UNREACHABLE)


def _printed(view: View) -> View:
    """Return the view with nothing in it that a terminal would obey: whoever can write the store can write a status."""
    texts = ("gate", "breaker", "cause", "because", "mode", "epoch", "policy")
    readings = tuple((printable(name), printable(status), printable(text)) for name, status, text in view.readings)
    return replace(view, readings=readings, **{name: printable(getattr(view, name)) for name in texts})  # type: ignore[arg-type]


def _hinted(gate: str, status: dict[str, Any]) -> View:
    """Return the view with what the last decision's status says; what cannot be read of it says nothing."""
    try:
        return View(
            gate,
            UNKNOWN,
            breaker=str(status.get("breaker", "?")),
            readings=tuple((str(name), str(what), str(text)) for name, what, text in status.get("readings", ())),
            policy=str(status.get("policy", "")),
            evidence_ms=int(status.get("evidence_ms", 0)),
            epoch=str(status.get("epoch", "")),
        )
    except (TypeError, ValueError):
        return View(gate, UNKNOWN)


def _closed(view: View, closing: Closing) -> View:
    return replace(
        view,
        state=CLOSED,
        breaker=closing.breaker,
        cause=closing.cause.value,
        because=closing.because,
        epoch=closing.epoch,
        evidence_ms=closing.evidence_ms,
    )


def _permitted(view: View, permit: Permit, pttl_ms: int, because: str, look: Look) -> View:
    life_ms = min(pttl_ms, permit.exp_ms - look.now_ms)
    if pttl_ms < 0:
        return replace(view, state=CLOSED, cause=Cause.UNVERIFIED.value, because="a permit that would never expire")
    if life_ms <= 0:
        return _without_permit(view, look)
    if permit.mode == "proving":
        because = "proving: executions with a probe token alone"
    elif permit.mode == "bypass":
        because = f"bypassed by an operator: {because}"
    view = replace(view, epoch=permit.epoch, mode=permit.mode, ttl_ms=permit.ttl_ms)
    evidence_ms = max(view.evidence_ms, permit.evidence_ms)
    return replace(view, state=OPEN, because=because, life_ms=life_ms, evidence_ms=evidence_ms)


def _renewed(view: View, permit: Permit, pttl_ms: int, found: tuple[Seal, int] | None, look: Look) -> View:
    """Return the view of a gate whose permit lives by seals: for how long the newest one renews it."""
    view = replace(view, epoch=permit.epoch)
    if pttl_ms == -1 or (found is not None and found[1] == -1):
        return replace(view, state=CLOSED, cause=Cause.UNVERIFIED.value, because="a permit that would never expire")
    evidence_ms = found[0].time_of(seal_name(permit)) if found is not None else 0
    if found is None or not evidence_ms:
        return _without_permit(view, look)
    seal, kept_ms = found
    view = replace(view, evidence_ms=max(view.evidence_ms, evidence_ms))
    end_ms = min(evidence_ms + permit.ttl_ms, permit.exp_ms)
    life_ms = min(kept_ms - (seal.kept_ms - end_ms), end_ms - look.now_ms)
    if life_ms <= 0:
        return _without_permit(view, look)
    return replace(view, state=OPEN, because=_holding(view), life_ms=life_ms, mode=permit.mode, ttl_ms=permit.ttl_ms)


def _holding(view: View) -> str:
    return f"{sum(status == 'holds' for _, status, _ in view.readings)} of {len(view.readings)} conditions hold"


def _without_permit(view: View, look: Look) -> View:
    """Return the view of a gate without a record: its permit ran out, or the store lost it. Which, is not always known."""
    if not view.evidence_ms:
        return replace(view, state=CLOSED, cause=Cause.NO_PERMIT.value, because=Cause.NO_PERMIT.meaning)
    if not look.workers:
        because = "no monitor is alive"
    elif (look.evidence_age_ms or 0) > STALE_MS:
        because = f"evidence is {(look.evidence_age_ms or 0) / 1000:.1f} s old"
        if look.waits:
            because += f": {look.waits}"
    else:
        because = Cause.LAPSED.meaning
    return replace(view, state=CLOSED, cause=Cause.LAPSED.value, because=because, lapsed=True)
