"""A worker for the tests: reads one batched topic as its JSON argument says and writes down what it saw."""

import asyncio
import json
import sys
import threading
from typing import Any

from failshut_streams.logs.beginning import log_to
from failshut_streams.transport import Assignment, Chunk, ChunkApp, Commit, Settings, run

spec = json.loads(sys.argv[1])
app = ChunkApp(
    Settings(group=spec["group"], broker=spec["broker"], **spec.get("settings", {})),
    broker_commit_interval=0.2,
    datadir=spec["folder"],
)
topic = app.batched_topic(spec["topic"])
out = open(spec["out"], "a", buffering=1)  # noqa: SIM115 for as long as the process lives
agent_does = spec.get("agent", "commit")
gaps = spec.get("gaps", "raise")
once: set[str] = set()


def say(event: str, **details: object) -> None:
    out.write(json.dumps({"event": event, **details}) + "\n")


if spec.get("break_codec"):
    import aiokafka.record._crecords as crecords
    import aiokafka.record.default_records as default_records

    class Broken(crecords.DefaultRecordBatch):  # type: ignore[misc]  # untyped
        def __init__(self, *_args: object) -> None:
            raise RuntimeError("no codec")

    import aiokafka.record.memory_records as memory_records

    for module in (default_records, memory_records):
        for name in ("DefaultRecordBatch", "_DefaultRecordBatchPy"):
            if hasattr(module, name):
                setattr(module, name, Broken)

if spec.get("break_fetcher"):
    from aiokafka.consumer.fetcher import Fetcher

    async def broken(self: Fetcher, *_args: object) -> bool:
        raise RuntimeError("the fetcher is broken")

    Fetcher._proc_fetch_request = broken


if spec.get("table"):
    snapshots = app.Table("snapshots", partitions=spec["table"])

    @app.on_assigned(spec["topic"])
    async def start_at_snapshot(assignment: Assignment) -> dict[Any, int]:
        say("assigned", held={tp.partition: snapshots.get(str(tp.partition)) for tp in assignment.tps})
        return {tp: snapshots[str(tp.partition)]["next"] for tp in assignment.tps if str(tp.partition) in snapshots}


if spec.get("start_at") is not None:

    @app.on_assigned(spec["topic"])
    async def start_where_told(assignment: Assignment) -> dict[Any, int]:
        await asyncio.sleep(0.5)
        say("assigned", committed={tp.partition: list(at) for tp, at in assignment.committed.items()})
        return dict.fromkeys(assignment.tps, spec["start_at"])


@app.on_revoked(spec["topic"])
async def let_go(tps: Any) -> None:
    say("revoked", partitions=sorted(tp.partition for tp in tps))
    if spec.get("commit_at_revocation"):
        done = await app.commit_chunks(Commit(tp, *last[tp], "at revocation") for tp in tps if tp in last)
        say("committed", partitions=sorted(tp.partition for tp in done))


last: dict[object, tuple[int, int]] = {}


@app.agent(topic)
async def read(stream: Any) -> None:
    async for chunk in app.chunks(stream, gaps=gaps):
        reading = app.consumer._readings[chunk.tp]  # type: ignore[attr-defined]  # ours, not Faust's
        say(
            "chunk",
            partition=chunk.partition,
            start=chunk.fetched_from,
            upto=chunk.upto,
            previous=chunk.previous,
            joins=chunk.joins,
            offsets=[record.offset for record in chunk.records],
            values=[(record.value or b"").decode() for record in chunk.records] if spec.get("values") else [],
            reading=chunk.reading,
            in_flight=reading.taken - reading.released,
        )
        await act(chunk)
        say("through")


async def act(chunk: Chunk) -> None:
    last[chunk.tp] = (chunk.reading, chunk.upto)
    if agent_does == "commit":
        done = await app.commit_chunks([chunk.done(metadata=f"upto {chunk.upto}")])
        say("committed", partitions=sorted(tp.partition for tp in done))
    elif agent_does == "commit inside":
        await app.commit_chunks([chunk.done(chunk.fetched_from + 3, "inside")])
        say("committed", partitions=[chunk.partition])
    elif agent_does == "commit beyond":
        await app.commit_chunks([chunk.done(chunk.upto + 1)])
    elif agent_does in ("raise", "raise beside a thread that stays"):
        if agent_does != "raise":
            threading.Thread(target=threading.Event().wait).start()
        raise RuntimeError("an agent that raises")
    elif agent_does == "slow":
        await asyncio.sleep(0.2)
    elif agent_does == "go back once" and "back" not in once and chunk.upto >= 40:
        await asyncio.sleep(0.2)  # the next chunks are in the queue by now
        once.add("back")
        sought = await app.seek_chunks({chunk.tp: 10})
        say("sought", partitions=sorted(tp.partition for tp in sought))
        say("stale commit", partitions=[tp.partition for tp in await app.commit_chunks([chunk.done()])])
    elif agent_does == "snapshot":
        held = snapshots.get(str(chunk.partition)) or {"next": 0, "count": 0, "sum": 0}
        assert held["next"] == chunk.fetched_from, f"{held} does not join {chunk.fetched_from}"
        snapshots[str(chunk.partition)] = {
            "next": chunk.upto,
            "count": held["count"] + len(chunk.records),
            "sum": held["sum"] + sum(int(record.value or 0) for record in chunk.records),
        }
        await asyncio.sleep(0.005)


if spec.get("ordinary"):
    ordinary = app.topic(spec["ordinary"], value_type=bytes, value_serializer="raw")

    @app.agent(ordinary)
    async def read_one_by_one(stream: Any) -> None:
        async for value in stream:
            say("ordinary", value=value.decode())


if spec.get("tell_awaited"):

    @app.timer(0.05)  # type: ignore[untyped-decorator]
    async def tell_awaited() -> None:
        say("awaited", at={tp.partition: at for tp, at in app.awaited_transactions().items()})


if __name__ == "__main__":
    log_to()
    run(app, stop_seconds_max=spec.get("stop_seconds_max", 20))
