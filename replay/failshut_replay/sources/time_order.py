"""Events in the order of time, in bounded memory: sorted parts on disk, merged.

Events of the same time keep the order in which they came, because a detector must see what came first.
"""

from __future__ import annotations

import heapq
from collections.abc import Iterator
from contextlib import ExitStack
from tempfile import TemporaryFile
from typing import IO, Any

import msgspec

from failshut_replay.errors import ImportFault
from failshut_replay.sources.front_door import Event
from failshut_replay.sources.notes import Placed

HELD_MAX = 200_000
PARTS_MAX = 200

_encode = msgspec.msgpack.Encoder().encode
_decode = msgspec.msgpack.Decoder(tuple[int, int, str, tuple[Any, ...]], strict=False).decode
_Kept = tuple[int, int, str, tuple[Any, ...]]


def in_time(events: Iterator[Placed], held_max: int = HELD_MAX) -> Iterator[Placed]:
    """Yield the events in the order of time.

    Raises:
        ImportFault: there are more than `PARTS_MAX` times `held_max`.
    """
    held: list[_Kept] = []
    parts: list[IO[bytes]] = []
    with ExitStack() as open_files:
        for number, (where, event) in enumerate(events):
            held.append((event.time_ms, number, where, event.item))
            if len(held) >= held_max:
                if len(parts) >= PARTS_MAX:
                    raise ImportFault(f"more than {PARTS_MAX * held_max} readings: take a shorter time")
                parts.append(_put(open_files.enter_context(TemporaryFile()), held))
                held = []
        held.sort(key=_place)
        for time_ms, _, where, item in heapq.merge(held, *map(_get, parts), key=_place):
            yield Placed(where, Event(time_ms, item))


def _place(kept: _Kept) -> tuple[int, int]:
    return kept[:2]


def _put(file: IO[bytes], held: list[_Kept]) -> IO[bytes]:
    held.sort(key=_place)
    for kept in held:
        data = _encode(kept)
        file.write(len(data).to_bytes(4, "big") + data)
    file.seek(0)
    return file


def _get(file: IO[bytes]) -> Iterator[_Kept]:
    while size := file.read(4):
        time_ms, number, where, item = _decode(file.read(int.from_bytes(size, "big")))
        if item[0] == "lag":  # MessagePack has no tuples
            item = (*item[:3], {partition: tuple(offsets) for partition, offsets in item[3].items()})
        yield time_ms, number, where, item
