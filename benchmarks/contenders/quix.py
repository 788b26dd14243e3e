"""quixstreams: a streaming dataframe with one update."""

from __future__ import annotations

from common import Scoring, task
from quixstreams import Application

todo = task()
scoring = Scoring(todo.samples)
app = Application(broker_address=todo.bootstrap, consumer_group=todo.group, auto_offset_reset="earliest", loglevel="ERROR")


def score(value: bytes) -> None:
    scoring.begin()
    scoring.take(value)
    if scoring.done:
        scoring.end()


app.dataframe(app.topic(todo.topic, value_deserializer="bytes")).update(score)
app.run()
