"""The real worker over a backlog: `python whole_path.py CONFIG ENDS`, both JSON.

CONFIG is a worker's configuration, ENDS the positions where telemetry ends, by partition. The clock starts when the router gets
its first chunk of telemetry and stops when the governors of all evidence partitions have covered every position below ENDS.
Nothing of the worker is changed: two methods are wrapped to look at the clock once a chunk.
"""

from __future__ import annotations

import json
import sys
import time
from typing import Any

from common import finish

from failshut_streams import worker
from failshut_streams.config import WorkerConfig
from failshut_streams.governor.agent import GovernorAgent
from failshut_streams.router.agent import Router
from failshut_streams.transport import Chunk

config = WorkerConfig.model_validate_json(sys.argv[1])
ends = {int(partition): int(end) for partition, end in json.loads(sys.argv[2]).items()}
samples = int(sys.argv[3])
route, judge = Router._route, GovernorAgent._judge
began: list[float] = []


def covered(governing: GovernorAgent) -> bool:
    governors = governing.governors
    return len(governors) == config.evidence_partitions and all(
        governor.coverages and governor.coverages[-1].covered.get(("telemetry", partition), 0) >= end
        for governor in governors.values()
        for partition, end in ends.items()
    )


async def timed_route(self: Router, chunk: Chunk) -> Any:
    if not began and chunk.topic == self.topics.telemetry:
        began.extend((time.process_time(), time.perf_counter()))
    return await route(self, chunk)


async def timed_judge(self: GovernorAgent, chunk: Chunk) -> Any:
    await judge(self, chunk)
    if began and covered(self):
        finish(samples, time.process_time() - began[0], time.perf_counter() - began[1])


Router._route = timed_route  # type: ignore[method-assign]
GovernorAgent._judge = timed_judge  # type: ignore[method-assign]
sys.exit(worker.run(config))
