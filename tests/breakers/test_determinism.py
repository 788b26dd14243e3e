"""I3: decisions are a function of the log. The same runs lead to the same bytes, however often and wherever they are judged."""

from __future__ import annotations

import hashlib
import pickle
import random
import subprocess
import sys
from pathlib import Path

import pytest
from draws import draws
from log import Log
from stories import Fleet, Story

from failshut_breakers.decisions.decision import Breaker, Decision, Kind, encode_decision
from failshut_breakers.evidence.records import decode_run
from failshut_breakers.governor import Governor

HERE = Path(__file__).parent


def told(seed: int, routers: int = 1, evidence_partitions: int = 2) -> Fleet:
    """A log that some routers wrote over a random front door."""
    story, rng = Story(seed), random.Random(f"routers {seed}")
    fleet = Fleet(story, routers, evidence_partitions)
    for _ in range(250):
        story.step()
        for _ in range(rng.randint(0, 4) * routers):
            fleet.turn(rng)
    fleet.finish()
    return fleet


def judge(log: Log, partition: int, pickled_every: int = 0) -> list[bytes]:
    """The decisions of one evidence partition, with the governor put away and fetched back as often as asked."""
    governor = log.governor(partition)
    said = []
    for offset, data in enumerate(log.records[partition]):
        said += [encode_decision(one) for one in governor.step(offset, decode_run(data))]
        if pickled_every and offset % pickled_every == 0:
            owns = governor.owns
            governor = pickle.loads(pickle.dumps(governor))
            governor.owns = owns
    return said


@pytest.mark.slow
@pytest.mark.parametrize("seed", range(2))
def test_a_snapshot_at_any_record_changes_nothing(seed: int) -> None:
    """A governor that is pickled and restored after every record says what one that ran through says."""
    log = told(seed).log
    for partition in range(2):
        through = judge(log, partition)
        assert through
        assert judge(log, partition) == through, f"seed {seed}: twice the same log, and not the same decisions"
        assert judge(log, partition, pickled_every=1) == through, f"seed {seed}: a snapshot changed a decision"


@pytest.mark.parametrize("seed", range(draws(2)))
def test_a_snapshot_followed_by_the_whole_log_changes_nothing(seed: int) -> None:
    """Records at or below a snapshot's offset are skipped: reading may start anywhere before it."""
    log = told(seed).log
    through = judge(log, 0)
    records = log.records[0]
    rng = random.Random(seed)
    for _ in range(5):
        at = rng.randrange(len(records))
        governor, said = log.governor(0), []
        for offset in range(at):
            said += governor.step(offset, decode_run(records[offset]))
        restored: Governor = pickle.loads(pickle.dumps(governor))
        restored.owns = governor.owns
        for offset in range(rng.randrange(at + 1), len(records)):
            said += restored.step(offset, decode_run(records[offset]))
        assert [encode_decision(one) for one in said] == through, f"seed {seed}, snapshot at {at}"


def digest(seed: int) -> str:
    """A digest of everything that is decided over a seed's log; also run as a program, see below."""
    log = told(seed).log
    return hashlib.sha256(b"\n".join(judge(log, 0) + judge(log, 1))).hexdigest()


@pytest.mark.slow
@pytest.mark.parametrize("hash_seed", ["0", "4242"])
def test_another_process_decides_the_same(hash_seed: str) -> None:
    """A process whose strings hash differently writes the same bytes."""
    program = (
        f"import sys; sys.path[:0] = {[str(HERE), str(HERE.parent)]!r}; from test_determinism import digest; print(digest(5))"
    )
    done = subprocess.run(
        [sys.executable, "-c", program],
        env={"PYTHONHASHSEED": hash_seed},
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    assert done.stdout.strip() == digest(5), done.stderr


def trips(decisions: list[Decision]) -> list[tuple[str, str, object]]:
    """Every decision by which a breaker became tripped: gate, cause, origin."""
    found, tripped = [], {}
    for one in decisions:
        if one.kind is Kind.NOTE:
            continue
        if one.breaker is Breaker.TRIPPED and not tripped.get(one.gate):
            found.append((one.gate, str(one.cause), one.origin))
        tripped[one.gate] = one.breaker is Breaker.TRIPPED
    return sorted(found, key=str)


@pytest.mark.parametrize("seed", range(draws(4)))
def test_how_runs_are_cut_and_repeated_does_not_matter(seed: int) -> None:
    """One router, or two that cut the same front door differently, die and come late: the same trips at the same readings."""
    story = Story(seed)
    for _ in range(500):
        story.step(trouble=0.0)
    series, key = "x", story.partition_of("x")
    for at in random.Random(seed).sample(range(len(story.door.logs[key])), 1):
        story.door.append(key, story.now_ms, *[("sample", f"s/{series}", 500.0)] * (1 + at % 3))
    for _ in range(30):
        story.step(trouble=0.0)
    results = []
    for routers in (1, 1, 2, 2, 2):
        fleet, rng, turns = Fleet(story, routers), random.Random(f"{seed} {len(results)}"), 0
        while any(router.pending(one) for router in fleet.routers for one in story.door.logs):
            turns += 1
            fleet.turn(rng, trouble=1.0 if turns < 500 else 0.0)
        governor = fleet.governor()
        decisions = [one for offset, data in enumerate(fleet.log.records[0]) for one in governor.step(offset, decode_run(data))]
        results.append(trips(decisions))
    assert results[0], f"seed {seed}: nothing tripped"
    assert all(result == results[0] for result in results), f"seed {seed}: {results}"
