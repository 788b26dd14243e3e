"""faust-streaming out of the box: an agent over a stream of messages."""

from __future__ import annotations

import faust
from common import Scoring, task

todo = task()
scoring = Scoring(todo.samples)
app = faust.App(
    todo.group,
    broker=f"kafka://{todo.bootstrap}",
    value_serializer="raw",
    topic_disable_leader=True,
    web_enabled=False,
    store="memory://",
    consumer_auto_offset_reset="earliest",
)


@app.agent(app.topic(todo.topic, value_serializer="raw"))
async def score(stream: faust.StreamT) -> None:
    async for value in stream:
        scoring.begin()
        scoring.take(value)
        if scoring.done:
            scoring.end()


faust.Worker(app, loglevel="INFO", redirect_stdouts=False).execute_from_commandline()
