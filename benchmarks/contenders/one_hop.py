"""One Faust agent on Failshut's chunk transport."""

from __future__ import annotations

from typing import Any

from common import Scoring, task

from failshut_streams.transport import ChunkApp, Settings, run

todo = task()
scoring = Scoring(todo.samples)
app = ChunkApp(Settings(group=todo.group, broker=f"kafka://{todo.bootstrap}", chunk_records_max=2000), datadir=None)


@app.agent(app.batched_topic(todo.topic))
async def score(stream: Any) -> None:
    take = scoring.take
    async for chunk in app.chunks(stream):
        scoring.begin()
        for record in chunk.records:
            take(record.value)
        if scoring.done:
            scoring.end()


run(app, loglevel="INFO")
