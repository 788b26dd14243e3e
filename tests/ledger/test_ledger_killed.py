"""A real writer process is killed at random points, again and again: no gap, no duplicate, no fork.

`FAILSHUT_LEDGER_KILLS=200 pytest tests/ledger/test_ledger_killed.py` kills so many; by default a few. What is printed by a
failure (seed and round) begins it again.
"""

from __future__ import annotations

import multiprocessing
import os
import random
import signal
from multiprocessing.connection import Connection
from pathlib import Path

import pytest
from ledger.plain import numbered
from ledger.writing import KEY, checked, continues, on_disk, position
from patience import patient

from failshut_ledger.disk.writer import create_ledger, open_ledger

KILLS = int(os.environ.get("FAILSHUT_LEDGER_KILLS", "25"))
SEED = int(os.environ.get("FAILSHUT_LEDGER_SEED", "0")) or random.SystemRandom().randrange(2**32)
ROUNDS_EACH = 25
"""A ledger is begun anew after so many kills, because each is followed by a check of the whole."""


def write_on(folder: Path, seed: int, started: Connection) -> None:
    """Append batches of random sizes, from where the checkpoint says, until the process is killed."""
    chance = random.Random(seed)
    with open_ledger(folder, KEY) as writer:
        started.send_bytes(b"x")
        while True:
            at, count = writer.checkpoint.size, chance.choice((1, 2, 40, 255, 256, 257, 600))
            writer.append(numbered(at + count)[at:], position(at + count))


def kill_once(folder: Path, chance: random.Random) -> None:
    """Start a writer, and kill it some milliseconds after it began to write."""
    context = multiprocessing.get_context("fork")
    here, there = context.Pipe(duplex=False)
    process = context.Process(target=write_on, args=(folder, chance.randrange(2**32), there), daemon=True)
    process.start()
    there.close()
    assert here.poll(patient(60)), "the writer has not started"
    assert here.recv_bytes() == b"x"
    process.join(chance.uniform(0, 0.06))
    assert process.is_alive(), "the writer has failed: its error is on standard error"
    os.kill(process.pid or 0, signal.SIGKILL)
    process.join(patient(60))
    assert process.exitcode == -signal.SIGKILL
    here.close()


@pytest.mark.slow
@pytest.mark.timeout(patient(20 + 4 * KILLS))
def test_a_killed_writer_leaves_a_ledger_that_goes_on(tmp_path: Path) -> None:
    """After each kill the tree verifies, holds the input's first leaves once each, and continues what was published before."""
    chance = random.Random(SEED)
    grew = 0
    for number in range(KILLS):
        folder = tmp_path / str(number // ROUNDS_EACH)
        if not folder.exists():
            create_ledger(folder, KEY)
        before = on_disk(folder)
        kill_once(folder, chance)
        after = checked(folder)
        assert after.size >= before.size, f"seed {SEED}, round {number}"
        continues(folder, before, after)
        with open_ledger(folder, KEY) as writer:  # what waited is published
            assert writer.checkpoint.size >= after.size
        continues(folder, after, checked(folder))
        grew += after.size > before.size
    assert grew, f"no writer came to write anything before it was killed: seed {SEED}"
