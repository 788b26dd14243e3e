"""A worker that is told to stop ends with status 0, in the middle of its start as well as at work."""

from __future__ import annotations

import asyncio
import json
import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest
from monitor.harness import Installation, until
from patience import patient

from failshut_servers import Kafka, Valkey

POLICY = "gate: pay\npermit: {ttl: 2s}\nconditions:\n  - heartbeat: {source: a, every: 1s, grace: 2s}\n"

pytestmark = pytest.mark.slow


@pytest.mark.parametrize(
    "moment",
    ["prepares", "_Worker]: Starting", "subscribed topics", "ReplyConsumer]: Starting", "Joined group", "_Worker]: Ready"],
)
async def test_sigterm_at_any_moment_is_status_0(kafka: Kafka, store: Valkey, tmp_path: Path, suffix: str, moment: str) -> None:
    """Each line of the start is a moment at which a supervisor may change its mind."""
    async with Installation(kafka, store, tmp_path / "m", f"{suffix}.", {"pay.yaml": POLICY}) as monitor:
        log = tmp_path / "worker.log"
        with log.open("wb") as out:
            worker = subprocess.Popen(
                [
                    sys.executable,
                    "-X",
                    "faulthandler",
                    "-m",
                    "failshut_streams.worker",
                    json.dumps({**monitor.config, "worker_id": "a"}),
                ],
                stdout=out,
                stderr=subprocess.STDOUT,
                env={**os.environ, "PYTHONUNBUFFERED": "1"},
            )
        try:
            await until(lambda: moment in log.read_text() or worker.poll() is not None, lambda: f"{moment}: {log.read_text()}")
            assert worker.poll() is None, log.read_text()
            worker.terminate()
            try:
                status = await asyncio.to_thread(worker.wait, patient(40))
            except subprocess.TimeoutExpired:
                worker.send_signal(signal.SIGABRT)  # then its log says where each thread stands
                worker.wait(patient(10))
                raise AssertionError(log.read_text()) from None
        finally:
            worker.kill()
    assert status == 0, log.read_text()
