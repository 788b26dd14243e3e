"""bytewax: a dataflow of a Kafka source and one map, in one worker."""

from __future__ import annotations

import bytewax.operators as op
from bytewax.connectors.kafka import KafkaSource, KafkaSourceMessage
from bytewax.dataflow import Dataflow
from bytewax.outputs import DynamicSink, StatelessSinkPartition
from bytewax.testing import run_main
from common import Scoring, task

todo = task()
scoring = Scoring(todo.samples)


class _Nowhere(StatelessSinkPartition[None]):
    def write_batch(self, items: list[None]) -> None:
        if scoring.done:
            scoring.end()


class Nowhere(DynamicSink[None]):
    def build(self, step_id: str, worker_index: int, worker_count: int) -> _Nowhere:
        return _Nowhere()


def score(message: KafkaSourceMessage) -> None:
    scoring.begin()
    scoring.take(message.value)


flow = Dataflow("bench")
messages = op.input("telemetry", flow, KafkaSource([todo.bootstrap], [todo.topic], tail=True, batch_size=1000))
op.output("nowhere", op.map("score", messages, score), Nowhere())
run_main(flow)
