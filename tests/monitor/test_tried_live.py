"""`failshut try` on a file, its lines in a policy, and the same readings live: the gate trips at the reading that was shown."""

from __future__ import annotations

import asyncio
import json
import random
import time
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import pytest
from monitor.harness import Installation, until
from monitor.trouble import place_of
from typer.testing import CliRunner

from failshut_console.app import app
from failshut_servers import Kafka, Valkey

pytestmark = pytest.mark.slow

PACE_S = 0.1
STEP = 250
DRAWN = random.Random(7)
VALUES = [round(100 + DRAWN.gauss(0, 3) + 60 * (number >= STEP), 3) for number in range(STEP + 20)]


async def tried(folder: Path, times_ms: Iterable[int]) -> dict[str, Any]:
    """Return what `failshut try` says of the default suggestion on these readings."""
    file = folder / "a.csv"
    rows = [f"{time_ms},{value}" for time_ms, value in zip(times_ms, VALUES, strict=True)]
    file.write_text("time,value\n" + "\n".join(rows) + "\n")
    ended = await asyncio.to_thread(CliRunner().invoke, app, ["try", str(file), "--json"])
    assert ended.exit_code == 0, ended.stderr
    said: dict[str, Any] = json.loads(ended.stdout)
    assert said["series"] == "data/a"
    first: dict[str, Any] = said["tried"][0]
    return first


async def test_pasted_lines_do_live_what_the_picture_showed(kafka: Kafka, store: Valkey, tmp_path: Path, suffix: str) -> None:
    """The same condition closes the gate, at the same reading, over the same words."""
    before = await tried(tmp_path, (1_700_000_000_000 + int(number * PACE_S * 1000) for number in range(len(VALUES))))
    lines = "\n".join(before["policy"])
    policy = f'gate: pay\npermit: {{ttl: 2s}}\nsubjects: ["*"]\n{lines}\n'
    async with Installation(kafka, store, tmp_path, f"{suffix}.", {"a.yaml": policy}) as monitor:
        worker = monitor.worker()
        sent, times_ms, begin = [], [], time.time() + 1
        for number, value in enumerate(VALUES):
            await asyncio.sleep(max(0.0, begin + number * PACE_S - time.time()))
            times_ms.append(int((begin + number * PACE_S) * 1000))
            event = {"service": "data", "metric": "a", "value": value, "time": times_ms[-1]}
            sent.append(await monitor.send(event, key="data/a"))

        def tripped() -> Any:
            return next((at for at in monitor.decisions if at.gate == "pay" and str(at.cause) == "anomaly"), None)

        closing = await until(tripped, lambda: f"the gate trips; status {monitor.status('pay')}")
        shown = next(one for one in (await tried(tmp_path, times_ms))["closings"] if one["cause"] == "anomaly")
        assert closing.origin == place_of(sent[times_ms.index(shown["start_ms"])])
        assert closing.because == shown["because"]
        assert worker.stop() == 0
