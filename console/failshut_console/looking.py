"""What the store says about the gates, as a guard would judge it: for screens, never for deciding.

A gate is shown as open only where a guard would admit: a permit is there, it verifies with the monitor's keys, it is
this gate's and it has life left. Everything else is shown as closed, with its cause; and where the keys or the store
are missing, so that nothing can be known, the gate is shown as unknown.
"""

from __future__ import annotations

import json
import time
from collections.abc import Iterable
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any

import redis
from redis.backoff import NoBackoff
from redis.retry import Retry

from failshut import Cause, Closing, Permit, keys, verify
from failshut.signing import KeySet, TokenError
from failshut_console.exits import Trouble, unreachable

OPEN, CLOSED, UNKNOWN = "OPEN", "CLOSED", "UNKNOWN"
TEXT_MAX = 500
STALE_MS = 1_500
"""Evidence older than this is worth a word: marks come several times a second."""


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

    @property
    def permit(self) -> str:
        """The permit's remaining life, in words."""
        if self.life_ms is not None:
            return f"{max(0, self.life_ms) / 1000:.1f} s"
        return "lapsed" if self.lapsed else "-"

    def as_json(self) -> dict[str, Any]:
        """For a machine."""
        return asdict(self)


@dataclass(frozen=True, slots=True)
class Worker:
    """What a worker says of itself; a worker that is silent for its key's life is not listed."""

    id: str
    group: str
    evidence: dict[str, int] = field(default_factory=dict)
    gaps: tuple[str, ...] = ()
    refused: dict[str, str] = field(default_factory=dict)  # by gate
    gap_places: dict[str, tuple[int, int]] = field(default_factory=dict)  # covered up to, and where a run began beyond


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
    def evidence_age_ms(self) -> int | None:
        """How old the evidence is; None where no worker reports."""
        return max(0, self.now_ms - self.evidence_ms) if self.evidence_ms else None

    def as_json(self) -> dict[str, Any]:
        """For a machine."""
        return {
            "now_ms": self.now_ms,
            "evidence_age_ms": self.evidence_age_ms,
            "workers": [worker.id for worker in self.workers],
            "gates": [view.as_json() for view in self.gates],
        }


class Looker:
    """Looks at one store. Each question is one attempt with one time limit."""

    def __init__(self, store: str, jwks: str = "", timeout_s: float = 1.0) -> None:
        if not store:
            raise Trouble(
                "no store is known: no `failshut up` runs here and --store was not given",
                "nothing can be said about any gate",
                "start a monitor (failshut up), or name its store: --store redis://HOST:PORT/0",
            )
        try:
            self._redis = redis.Redis.from_url(
                store, socket_timeout=timeout_s, socket_connect_timeout=timeout_s, retry=Retry(NoBackoff(), 0)
            )
        except ValueError as error:
            raise Trouble(f"{store!r} is not a store's address: {error}", do="write it as redis://HOST:PORT/0") from error
        self.store = store
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
        except (redis.RedisError, OSError) as error:
            self._server = ""
            raise unreachable(
                f"the store {self.store} does not answer: {error}", "start it, or name another one with --store"
            ) from error

    def close(self) -> None:
        """Close the connection."""
        self._redis.close()

    def server(self) -> str:
        """The store's name and version; empty where it does not say."""
        if not self._server:
            try:
                said: Any = self._redis.info("server")
            except (redis.RedisError, OSError):
                return ""
            name, version = ("Valkey", said.get("valkey_version")) if "valkey_version" in said else ("Redis", None)
            self._server = f"{name} {version or said.get('redis_version', '?')}"
        return self._server

    def _look(self, only: tuple[str, ...]) -> Look:
        names: Any = only or sorted(name.decode() for name in self._members())
        worker_keys = list(self._redis.scan_iter(match="failshut:workers:*", count=500))[:1000]
        with self._redis.pipeline(transaction=True) as pipe:
            for gate in names:
                pipe.get(keys.record(gate))
                pipe.pttl(keys.record(gate))
                pipe.get(keys.status(gate))
            for key in worker_keys:
                pipe.get(key)
            answers = pipe.execute()
        self._read_keys()
        now_ms = int(time.time() * 1000)
        workers = tuple(worker for answer in answers[3 * len(names) :] if (worker := _worker(answer)) is not None)
        found = Look(now_ms, (), workers, self.store)
        refused = {gate: words for worker in workers for gate, words in worker.refused.items()}
        views = []
        for index, gate in enumerate(names):
            record, pttl_ms, status = answers[3 * index : 3 * index + 3]
            view = self._view(gate, record, pttl_ms, _json(status), found)
            if gate in refused:
                view = replace(view, refused=refused[gate], because=f"{refused[gate]} ({view.because})")
            views.append(view)
        return Look(now_ms, tuple(views), workers, self.store)

    def _members(self) -> set[bytes]:
        members: Any = self._redis.smembers(keys.GATES)
        return set(members)

    def _read_keys(self) -> None:
        if self._keys is None and self._jwks:
            try:
                self._keys = KeySet.load(Path(self._jwks))
            except (OSError, ValueError):
                self._keys = None

    def _view(self, gate: str, record: bytes | None, pttl_ms: int, status: dict[str, Any], look: Look) -> View:
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
        return _permitted(view, statement, pttl_ms, str(status.get("because", "")), look)


def _hinted(gate: str, status: dict[str, Any]) -> View:
    """The view with what the last decision's status says; what cannot be read of it says nothing."""
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
    return replace(view, state=OPEN, because=because, life_ms=life_ms, mode=permit.mode, epoch=permit.epoch)


def _without_permit(view: View, look: Look) -> View:
    """No record: the last permit ran out, or the store lost what it held. Which one the screen cannot always know."""
    if not view.evidence_ms:
        return replace(view, state=CLOSED, cause=Cause.NO_PERMIT.value, because=Cause.NO_PERMIT.meaning)
    if not look.workers:
        because = "no monitor is alive"
    elif (look.evidence_age_ms or 0) > STALE_MS:
        because = f"evidence is {(look.evidence_age_ms or 0) / 1000:.1f} s old"
    else:
        because = Cause.LAPSED.meaning
    return replace(view, state=CLOSED, cause=Cause.LAPSED.value, because=because, lapsed=True)


def _worker(answer: bytes | None) -> Worker | None:
    said = _json(answer)
    if not said:
        return None
    try:
        evidence = {str(name): int(ms) for name, ms in said.get("evidence", {}).items()}
        gaps = tuple(str(gap) for gap in said.get("gaps", ()))
        refused = {str(gate): str(words)[:TEXT_MAX] for gate, words in said.get("refused", {}).items()}
        places = {str(place): (int(at), int(beyond)) for place, (at, beyond) in said.get("gap_places", {}).items()}
    except (TypeError, ValueError, AttributeError):
        evidence, gaps, refused, places = {}, (), {}, {}
    return Worker(str(said.get("id", "?")), str(said.get("group", "?")), evidence, gaps, refused, places)


def _json(answer: bytes | None) -> dict[str, Any]:
    """Hints for a screen; what cannot be read says nothing."""
    try:
        said = json.loads(answer or b"{}")
    except ValueError:
        return {}
    return said if isinstance(said, dict) else {}
