"""Writer, asker and witnesses, each a process, are killed at random: nobody sees a fork where there is none.

`FAILSHUT_WITNESS_KILLS=100 pytest tests/ledger/test_witness_killed.py` kills so often; by default a few times. The seed that
a failure prints chooses the same victims again.
"""

from __future__ import annotations

import multiprocessing
import os
import random
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import pytest
from ledger.plain import numbered
from ledger.test_witness_asking import W, policy_of
from ledger.witness_support import RunningWitness, make_witness, until
from ledger.writing import KEY, checked, on_disk, position
from patience import patient

from failshut_ledger.disk.cosigned import open_cosigned
from failshut_ledger.disk.files import FORK, Files
from failshut_ledger.disk.reader import DiskTiles
from failshut_ledger.disk.writer import create_ledger, open_ledger
from failshut_ledger.merkle.proofs import root_within
from failshut_ledger.notes.policy import parse_policy

KILLS = int(os.environ.get("FAILSHUT_WITNESS_KILLS", "6"))
SEED = int(os.environ.get("FAILSHUT_WITNESS_SEED", "0")) or random.SystemRandom().randrange(2**32)
LEAVES_MAX = 50_000


def write_on(folder: Path, seed: int) -> None:
    """Append batches of random sizes until the process is killed."""
    chance = random.Random(seed)
    with open_ledger(folder, KEY) as writer:
        while writer.checkpoint.size < LEAVES_MAX:
            at, count = writer.checkpoint.size, chance.choice((1, 2, 5, 40))
            writer.append(numbered(at + count)[at:], position(at + count))
            time.sleep(chance.uniform(0, 0.2))
        time.sleep(patient(600))


class Everybody:
    """The processes, each of which can be killed and started again."""

    def __init__(self, folder: Path) -> None:
        self.ledger, self.trust, self._folder = folder / "ledger", folder / "trust.policy", folder
        create_ledger(self.ledger, KEY)
        self.witnesses = [self._witness(number) for number in range(2)]
        self.trust.write_bytes(policy_of([one.url for one in self.witnesses], 2))
        self.writer, self.asker = self._writer(1), self._asker()

    def kill_one(self, chance: random.Random) -> None:
        """Kill one of them, and start it again a little later."""
        at = chance.randrange(4)
        if at < 2:
            port = self.witnesses[at].port
            self.witnesses[at].end(signal.SIGKILL)
            time.sleep(chance.uniform(0, 0.5))
            self.witnesses[at] = RunningWitness(self._folder / f"w{at}", W[at], port)
        elif at == 2:
            self.writer.kill()
            self.writer.join(patient(30))
            self.writer = self._writer(chance.randrange(2**32))
        else:
            self.asker.kill()
            self.asker.wait(patient(30))
            self.asker = self._asker()

    def end(self) -> None:
        for one in self.witnesses:
            one.end(signal.SIGKILL)
        self.writer.kill()
        self.writer.join(patient(30))
        self.asker.kill()
        self.asker.wait(patient(30))

    def cosigned(self) -> int:
        """How many leaves are cosigned by both; the published checkpoint is one of the ledger's tree."""
        found = open_cosigned(Files(self.ledger), parse_policy(self.trust.read_bytes()))
        if found is None:
            return 0
        assert len(found[1].verified) == 3
        now = on_disk(self.ledger)
        assert root_within(DiskTiles(Files(self.ledger)), found[0].size, now.size) == found[0].root
        return found[0].size

    def _witness(self, number: int) -> RunningWitness:
        make_witness(self._folder / f"w{number}", W[number])
        return RunningWitness(self._folder / f"w{number}", W[number])

    def _writer(self, seed: int) -> multiprocessing.process.BaseProcess:
        process = multiprocessing.get_context("fork").Process(target=write_on, args=(self.ledger, seed), daemon=True)
        process.start()
        return process

    def _asker(self) -> subprocess.Popen[bytes]:
        command = ["ledger", "cosign", str(self.ledger), "--witnesses", str(self.trust), "--every-ms", "50"]
        return subprocess.Popen([sys.executable, "-m", "failshut_console", *command], stderr=subprocess.DEVNULL)


@pytest.mark.slow
@pytest.mark.timeout(patient(120 + 15 * KILLS))
def test_whoever_is_killed_nobody_sees_a_fork(tmp_path: Path) -> None:
    """What both have cosigned stays a part of the ledger, grows again after each kill, and reaches its end."""
    chance = random.Random(SEED)
    everybody = Everybody(tmp_path)
    said = f"seed {SEED}"
    grows: Callable[[int], Callable[[], bool]] = lambda before: lambda: everybody.cosigned() > before  # noqa: E731
    try:
        for number in range(KILLS):
            until(grows(everybody.cosigned()), f"{said}, round {number}: it is not cosigned", 90)
            time.sleep(chance.uniform(0, 0.3))
            everybody.kill_one(chance)
            assert not (everybody.ledger / FORK).exists(), f"{said}, round {number}"
        everybody.writer.kill()
        everybody.writer.join(patient(30))
        until(lambda: everybody.cosigned() == on_disk(everybody.ledger).size, f"{said}: the end is not cosigned", 90)
        assert everybody.asker.poll() is None
    finally:
        everybody.end()
    assert checked(everybody.ledger).size
    assert not (everybody.ledger / FORK).exists()
