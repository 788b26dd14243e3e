"""Reads Kafka in chunks, with exact positions.

Faust spends 265 us on a message. Most of it is two asyncio tasks and an event for each message. This transport
makes one Faust event of each fetched chunk of a partition. It has four more properties that Failshut needs. A
chunk records the positions between which it was read. Only positions that an agent names are committed. No chunk
arrives before tables are recovered and the agent's hook has returned its start. An agent that raises ends the
worker.

    from failshut_streams.transport import ChunkApp, Settings, run

    app = ChunkApp(Settings(group="governors", broker="kafka://127.0.0.1:9092"))
    evidence = app.batched_topic("evidence")
    snapshots = app.Table("snapshots", partitions=4)             # ordinary Faust beside it

    @app.on_assigned("evidence")                                 # tables are recovered, nothing delivered yet
    async def start(assignment):
        return {tp: snapshots[tp.partition] for tp in assignment.tps if tp.partition in snapshots}

    @app.agent(evidence)
    async def govern(stream):
        async for chunk in app.chunks(stream):                   # gaps="deliver": look at chunk.joins yourself
            for record in chunk.records:
                ...
            await app.commit_chunks([chunk.done(metadata="v7")])  # or chunk.done(offset), for any offset inside

    run(app)                                                     # exits with 0, or not

- Read a stream only through `app.chunks(stream)`. It drops chunks of older readings, checks that chunks join, and makes
  room when the agent asks for the next one. A batched topic has one agent with concurrency 1.
- `app.seek_chunks({tp: offset})` continues reading at another position. Chunks that were on their way are dropped, and
  commits of chunks that were read before the seek are refused.
- `chunk.records` may be empty. Then the chunk covers a hole (transaction markers, compaction).
- `app.on_revoked(*topics)` registers a hook that receives the partitions that are taken away. It runs at a rebalance and
  before a clean stop. No agent is in the middle of a chunk then. So state is settled, and a commit still counts.
- After every rebalance, the partition's new owner reads again from the commit. A hook that knows a better position
  returns it.
- Only committed records are delivered. Records of an aborted transaction are skipped. Records of an open transaction, and
  all records behind them in their partition, wait. `app.awaited_transactions()` returns where readings wait.
- Limits: the eager rebalance protocol (all partitions are revoked and assigned again). The broker's largest batch, not
  this transport, bounds the size that a compressed batch unpacks to.
"""

from failshut_streams.transport.app import ChunkApp, run
from failshut_streams.transport.chunk import (
    Assignment,
    Chunk,
    ChunkGap,
    Commit,
    CommitBeyondDelivery,
    Position,
    ReadFault,
    Record,
    TransportError,
)
from failshut_streams.transport.settings import Settings

__all__ = [
    "Assignment",
    "Chunk",
    "ChunkApp",
    "ChunkGap",
    "Commit",
    "CommitBeyondDelivery",
    "Position",
    "ReadFault",
    "Record",
    "Settings",
    "TransportError",
    "run",
]
