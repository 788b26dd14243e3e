"""Writing to the store: compare and swap on real Valkey and Redis, with every write failed, failed but applied, and applied."""

from __future__ import annotations

import asyncio
import base64
import functools
import time
from collections.abc import AsyncIterator, Callable

import pytest
import redis as redis_py

from failshut.store.names import Names
from failshut_breakers.decisions.permits import Statement
from failshut_breakers.store import client as store_module
from failshut_breakers.store.client import Answer, Store, StoreUnreachable
from failshut_servers import Redis, Valkey

pytestmark = pytest.mark.store

Server = Valkey | Redis
INSTALLATION = "i" * 32
NAMES = Names(INSTALLATION)
GIANT_BYTES = 10_000_000


@pytest.fixture(params=["store", "redis_server"])
def server(request: pytest.FixtureRequest) -> Server:
    """An empty store, of each kind."""
    return request.getfixturevalue(request.param)  # type: ignore[no-any-return]


@pytest.fixture
def see(server: Server) -> redis_py.Redis:
    """What stands in the store."""
    return redis_py.Redis.from_url(server.url, socket_timeout=5, decode_responses=True)


@pytest.fixture
async def writer(server: Server) -> AsyncIterator[Store]:
    async with Store(server.url, timeout_s=5.0) as store:
        yield store


def epoch(number: int) -> str:
    return f"{number:016d}"


def token(text: str, installation: str = INSTALLATION) -> str:
    """What looks like a token that names its installation, with a few words in place of a signature."""
    head = base64.urlsafe_b64encode(f'{{"iss":"failshut","installation":"{installation}"}}'.encode()).decode()
    return f"x.{head}.{text}"


def permit(
    at: int,
    offset: int,
    *,
    gate: str = "g",
    life_ms: int = 60_000,
    tokens: int = 0,
    proving: int = 0,
    installation: str = INSTALLATION,
) -> Statement:
    exp_ms = int(time.time() * 1000) + life_ms
    probes = tuple(f"{epoch(proving)}:{number}:mac" for number in range(tokens))
    said = token(f"permit-{at}-{offset}", installation)
    return Statement(gate, "permit", epoch(at), offset, said, exp_ms, probes, epoch(proving) if proving else "")


def closing(at: int, offset: int, gate: str = "g", installation: str = INSTALLATION) -> Statement:
    return Statement(gate, "closing", epoch(at), offset, token(f"closing-{at}-{offset}", installation), 0, (), "")


async def write(writer: Store, *statements: Statement) -> list[Answer]:
    return await writer.write([(statement, b"{}") for statement in statements])


async def test_newer_wins_in_whatever_order(writer: Store, see: redis_py.Redis) -> None:
    """I4: (epoch, offset) decides, as numbers, and not who writes last."""
    assert await write(writer, permit(9, 9)) == [True]
    assert await write(writer, permit(10, 10)) == [True]
    assert await write(writer, permit(10, 9), permit(9, 99), closing(9, 100), closing(10, 9)) == [False] * 4
    assert see.get(NAMES.record("g")) == token("permit-10-10")
    assert await write(writer, permit(10, 100)) == [True]
    assert see.hgetall(NAMES.fence("g")) == {"epoch": epoch(10), "offset": epoch(100), "kind": "permit"}


async def test_on_a_tie_a_closing_wins(writer: Store, see: redis_py.Redis) -> None:
    """At the same epoch and offset a closing replaces a permit, and no permit replaces a closing."""
    assert await write(writer, permit(5, 5), closing(5, 5), permit(5, 5)) == [True, True, False]
    assert see.get(NAMES.record("g")) == token("closing-5-5")


async def test_a_closing_does_not_expire_and_a_permit_does(writer: Store, see: redis_py.Redis) -> None:
    """A closing stays; a permit's record ends with the permit; one that has ended is never seen."""
    await write(writer, permit(5, 5, life_ms=60_000))
    assert 50_000 < see.pttl(NAMES.record("g")) <= 60_000
    await write(writer, closing(6, 6))
    assert see.pttl(NAMES.record("g")) == -1
    assert await write(writer, permit(7, 7, life_ms=-1_000)) == [True]
    assert see.get(NAMES.record("g")) is None
    assert see.hget(NAMES.fence("g"), "epoch") == epoch(7)
    assert see.pttl(NAMES.fence("g")) == -1


async def test_writing_again_changes_nothing(writer: Store, see: redis_py.Redis) -> None:
    """A write whose answer was lost may be repeated; probe tokens that were taken do not come back."""
    opening = permit(5, 5, tokens=3, proving=5)
    await write(writer, opening)
    assert see.rpop(NAMES.probes("g")) == f"{epoch(5)}:2:mac"
    assert await write(writer, opening, opening) == [True, True]
    assert see.lrange(NAMES.probes("g"), 0, -1) == [f"{epoch(5)}:0:mac", f"{epoch(5)}:1:mac"]


async def test_tokens_are_written_once_for_a_proving(writer: Store, see: redis_py.Redis) -> None:
    """A renewal brings none, a closing takes those that are left, and a later PROVING brings its own."""
    await write(writer, permit(5, 5, tokens=2, proving=5), permit(5, 6))
    assert see.llen(NAMES.probes("g")) == 2
    await write(writer, closing(7, 7))
    assert see.llen(NAMES.probes("g")) == 0
    await write(writer, permit(8, 8, tokens=2, proving=5))
    assert see.llen(NAMES.probes("g")) == 0
    await write(writer, permit(9, 9, tokens=1, proving=9))
    assert see.lrange(NAMES.probes("g"), 0, -1) == [f"{epoch(9)}:0:mac"]


async def test_a_closing_is_pushed_and_a_refused_one_is_not(writer: Store, see: redis_py.Redis) -> None:
    """Subscribers hear of what was written, and of nothing else."""
    listener = see.pubsub(ignore_subscribe_messages=True)
    listener.subscribe(NAMES.push)
    assert listener.get_message(timeout=10) is None
    await write(writer, permit(5, 5), closing(6, 6), closing(4, 4), closing(7, 7))
    heard = [message["data"] for _ in range(20) if (message := listener.get_message(timeout=0.5))]
    assert heard == [f"g\n{token('closing-6-6')}", f"g\n{token('closing-7-7')}"]
    listener.close()


async def test_a_full_store_takes_permits_and_closings(writer: Store, see: redis_py.Redis) -> None:
    """What others filled it with keeps out nothing of the monitor's: of a gate it knows, and of one that it does not."""
    await write(writer, permit(5, 5))
    see.config_set("maxmemory", "1")
    try:
        with pytest.raises(redis_py.exceptions.OutOfMemoryError):
            see.set("anything", "of somebody else")
        assert await write(writer, permit(5, 6, tokens=2, proving=6), permit(3, 3, gate="new")) == [True, True]
        assert see.llen(NAMES.probes("g")) == 2
        assert see.get(NAMES.record("new")) == token("permit-3-3")
        assert await write(writer, closing(7, 7), permit(5, 9)) == [True, False]
        assert see.get(NAMES.record("g")) == token("closing-7-7")
        assert see.llen(NAMES.probes("g")) == 0
    finally:
        see.config_set("maxmemory", "0")
    assert see.smembers(NAMES.gates) == {"g"}
    await write(writer, permit(3, 4, gate="new"))
    assert see.smembers(NAMES.gates) == {"g", "new"}, "names are for screens, and told again"


async def test_a_full_store_that_knows_no_flags_takes_closings(
    writer: Store, see: redis_py.Redis, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Before Redis 7 a permit waits until there is room. What a script has begun to write is never refused: a closing."""
    monkeypatch.setattr(store_module, "FLAGS", "#!no such engine\n")  # as to a server that knows none
    await write(writer, permit(5, 5))
    listener = see.pubsub(ignore_subscribe_messages=True)
    listener.subscribe(NAMES.push)
    assert listener.get_message(timeout=10) is None
    see.config_set("maxmemory", "1")
    try:
        with pytest.raises(StoreUnreachable):
            await write(writer, permit(5, 6))
        assert await write(writer, closing(6, 6)) == [True]
        heard = [message["data"] for _ in range(20) if (message := listener.get_message(timeout=0.5))]
        assert heard == [f"g\n{token('closing-6-6')}"]
        assert see.get(NAMES.record("g")) == token("closing-6-6")
    finally:
        see.config_set("maxmemory", "0")
    assert await write(writer, closing(6, 6), permit(5, 9)) == [True, False]
    listener.close()


async def test_one_gate_says_nothing_of_another(writer: Store, see: redis_py.Redis) -> None:
    """Gates are written side by side, and each has its own fence; screens find them all."""
    assert await write(writer, permit(9, 9, gate="a"), permit(1, 1, gate="b"), closing(2, 2, gate="c")) == [True] * 3
    assert see.smembers(NAMES.gates) == {"a", "b", "c"}
    assert await write(writer) == []


async def test_two_installations_do_not_touch_each_other(writer: Store, see: redis_py.Redis) -> None:
    """A gate of the same name, in the same database: neither's epochs, records nor pushes are the other's."""
    other = Names("j" * 32)
    listener = see.pubsub(ignore_subscribe_messages=True)
    listener.subscribe(NAMES.push)
    assert listener.get_message(timeout=10) is None
    theirs = [
        permit(900, 900, installation=other.installation, tokens=1, proving=900),
        closing(901, 901, "g", other.installation),
    ]
    assert await write(writer, permit(5, 5), *theirs, permit(5, 6)) == [True] * 4
    assert see.get(NAMES.record("g")) == token("permit-5-6")
    assert see.get(other.record("g")) == token("closing-901-901", other.installation)
    assert (see.smembers(NAMES.gates), see.smembers(other.gates)) == ({"g"}, {"g"})
    assert listener.get_message(timeout=0.5) is None
    listener.close()


async def test_what_names_no_installation_is_written_nowhere(writer: Store, see: redis_py.Redis) -> None:
    """There is no place for a statement of nobody's."""
    with pytest.raises(ValueError, match="installation"):
        await write(writer, permit(5, 5)._replace(token="x.e30.y"))
    assert see.keys("*") == []


async def test_a_flushed_store_is_written_anew(writer: Store, see: redis_py.Redis) -> None:
    """FLUSHALL and a lost script take nothing from the next write."""
    await write(writer, permit(5, 5))
    see.flushall()
    see.script_flush()
    assert await write(writer, permit(5, 6), closing(5, 6, gate="h")) == [True, True]
    assert see.get(NAMES.record("g")) == token("permit-5-6")


@pytest.mark.parametrize(
    "spoil",
    [
        lambda see: see.set(NAMES.fence("g"), "garbage"),
        lambda see: see.hset(NAMES.fence("g"), "epoch", epoch(1)),
        lambda see: see.hset(NAMES.fence("g"), mapping={"offset": epoch(1), "kind": "permit"}),
        lambda see: see.hset(NAMES.fence("g"), "else", "1"),
        lambda see: see.rpush(NAMES.fence("g"), "x"),
        *(
            functools.partial(lambda see, fence: see.hset(NAMES.fence("g"), mapping=fence), fence=fence)
            for fence in (
                {"epoch": "", "offset": "", "kind": ""},
                {"epoch": "z", "offset": "z", "kind": "closing"},
                {"epoch": "9" * 16, "offset": epoch(5), "kind": "closing"},
                {"epoch": str(2**53), "offset": epoch(5), "kind": "closing"},
                {"epoch": str(2**53 - 1), "offset": str(2**53 - 1), "kind": "closing"},
                {"epoch": epoch(5), "offset": epoch(2**40), "kind": "permit"},
                {"epoch": epoch(2**40 + 9), "offset": epoch(8), "kind": "permit"},
                {"epoch": epoch(5), "offset": "5", "kind": "permit"},
                {"epoch": "-" + "0" * 14 + "5", "offset": epoch(5), "kind": "permit"},
                {"epoch": "0x" + "f" * 14, "offset": epoch(5), "kind": "permit"},
                {"epoch": epoch(5), "offset": epoch(5) + "0" * 100, "kind": "permit"},
                {"epoch": epoch(5), "offset": epoch(5), "kind": "PERMIT"},
            )
        ),
    ],
)
async def test_over_a_fence_that_is_none_only_a_closing_is_written(
    writer: Store, see: redis_py.Redis, spoil: Callable[[redis_py.Redis], object]
) -> None:
    """A fence that no monitor can have written opens nothing and keeps no other gate from being written; a closing mends it."""
    spoil(see)
    refused, taken = await write(writer, permit(5, 5), permit(5, 5, gate="h"))
    assert (refused, refused.epoch, refused.offset, taken) == (False, "", "", True)
    assert see.get(NAMES.record("g")) is None
    assert await write(writer, closing(6, 6)) == [True]
    assert await write(writer, permit(6, 5), permit(7, 7)) == [False, True]


async def test_a_refusal_says_what_the_store_holds(writer: Store, see: redis_py.Redis) -> None:
    """A fence that a monitor of a later term may have written refuses everything, and says which epoch that is."""
    later = epoch(9 * 2**40 + 3)
    see.hset(NAMES.fence("g"), mapping={"epoch": later, "offset": epoch(7), "kind": "permit"})
    for answer in await write(writer, permit(5, 5), closing(2**40 + 6, 6)):
        assert (answer, answer.epoch, answer.offset) == (False, later, epoch(7))


async def test_an_operator_removes_a_fence_by_its_epoch(writer: Store, see: redis_py.Redis) -> None:
    """Only that of the epoch that was named goes, and the record with it: the gate denies until it is written again."""
    await write(writer, permit(9, 9), permit(9, 9, gate="h"))
    assert not await writer.clear_fence(NAMES, "g", epoch(8))
    assert see.get(NAMES.record("g")) == token("permit-9-9")
    assert await writer.clear_fence(NAMES, "g", epoch(9))
    assert see.exists(NAMES.fence("g"), NAMES.record("g")) == 0
    assert see.get(NAMES.record("h")) == token("permit-9-9")
    assert not await writer.clear_fence(NAMES, "g", epoch(9))
    assert await write(writer, closing(5, 5)) == [True]


async def test_keys_of_another_type_are_replaced(writer: Store, see: redis_py.Redis) -> None:
    """Whatever stands where a record, tokens, a status or the names of gates should be is overwritten."""
    see.set(NAMES.gates, "x")
    see.sadd(NAMES.record("g"), "x")
    see.set(NAMES.probes("g"), "x")
    see.rpush(NAMES.probed("g"), "x")
    see.hset(NAMES.status("g"), "x", "y")
    assert await write(writer, permit(5, 5, tokens=1, proving=5)) == [True]
    assert see.get(NAMES.record("g")) == token("permit-5-5")
    assert see.llen(NAMES.probes("g")) == 1
    assert await write(writer, permit(5, 6)) == [True]
    assert see.smembers(NAMES.gates) == {"g"}


@pytest.mark.parametrize("poison", ["z", "9" * 16, epoch(7), "", epoch(6) + "x"])
async def test_a_proving_that_no_monitor_began_keeps_no_token_out(writer: Store, see: redis_py.Redis, poison: str) -> None:
    """What says for which PROVING tokens were written is unsigned: it is believed up to the permit's own epoch."""
    see.set(NAMES.probed("g"), poison)
    assert await write(writer, permit(6, 6, tokens=3, proving=6), permit(6, 7, tokens=3, proving=6)) == [True, True]
    assert see.llen(NAMES.probes("g")) == 3
    assert see.get(NAMES.probed("g")) == epoch(6)


@pytest.mark.parametrize("where", ["epoch", "offset", "kind", "probed"])
async def test_what_is_longer_than_ours_is_not_read(writer: Store, see: redis_py.Redis, where: str) -> None:
    """A giant in a gate's fence, or where its PROVING stands, is copied into no script, and the next closing is rid of it."""
    await write(writer, permit(5, 5))
    if where == "probed":
        see.setrange(NAMES.probed("g"), GIANT_BYTES, "x")
    else:
        see.hset(NAMES.fence("g"), where, "9" * GIANT_BYTES)
    before, calls = see.info("memory")["used_memory_lua"], see.info("commandstats").get("cmdstat_get")
    for statement, written in ((permit(6, 6, tokens=1, proving=6), where == "probed"), (closing(7, 7), True)):
        assert await write(writer, statement) == [written]
        assert see.info("memory")["used_memory_lua"] - before < GIANT_BYTES / 2
        assert see.info("commandstats").get("cmdstat_get") == calls, "it reads a value of any length"
    assert not await writer.clear_fence(NAMES, "g", epoch(6))
    assert await write(writer, permit(8, 8, tokens=1, proving=8)) == [True]
    assert see.llen(NAMES.probes("g")) == 1


class Wire:
    """A TCP proxy that can lose what is asked, or lose the answer."""

    def __init__(self, server: Server) -> None:
        self._target = redis_py.connection.parse_url(server.url)
        self.lose = ""  # "request" or "answer"
        self._server: asyncio.Server | None = None

    async def __aenter__(self) -> str:
        self._server = await asyncio.start_server(self._serve, "127.0.0.1", 0)
        return f"redis://127.0.0.1:{self._server.sockets[0].getsockname()[1]}"

    async def __aexit__(self, *_: object) -> None:
        assert self._server is not None
        self._server.close()

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        there, to = await asyncio.open_connection(self._target["host"], self._target["port"])
        done = asyncio.Event()
        ways = [
            asyncio.create_task(self._carry(reader, to, done, "request")),
            asyncio.create_task(self._carry(there, writer, done, "answer")),
        ]
        await done.wait()
        for way in ways:
            way.cancel()
        for end in (writer, to):
            end.close()

    async def _carry(self, source: asyncio.StreamReader, to: asyncio.StreamWriter, done: asyncio.Event, which: str) -> None:
        while data := await source.read(65536):
            if self.lose == which:
                break
            to.write(data)
            await to.drain()
        done.set()


@pytest.mark.parametrize(("lose", "applied"), [("request", False), ("answer", True)])
async def test_a_write_that_fails_is_repeated_to_the_same_end(
    server: Server, see: redis_py.Redis, lose: str, applied: bool
) -> None:
    """Failed, or applied with its answer lost: StoreUnreachable, and repeating it does what one write would."""
    wire = Wire(server)
    async with wire as url, Store(url, timeout_s=5.0) as writer:
        await write(writer, permit(1, 1))
        for n, statement in enumerate((permit(5, 5, tokens=2, proving=5), permit(5, 6), closing(7, 7))):
            wire.lose = lose
            with pytest.raises(StoreUnreachable):
                await write(writer, statement)
            assert (see.hget(NAMES.fence("g"), "offset") == epoch(statement.offset)) is applied
            wire.lose = ""
            assert await write(writer, statement) == [True]
            assert see.get(NAMES.record("g")) == statement.token
            assert see.llen(NAMES.probes("g")) == (2, 2, 0)[n]


async def test_an_unreachable_store_is_said_to_be_so(server: Server, free_port: Callable[[], int]) -> None:
    """Nobody listens, or somebody listens and does not answer: StoreUnreachable, and no driver's exception."""
    async with Store(f"redis://127.0.0.1:{free_port()}", timeout_s=1.0) as writer:
        with pytest.raises(StoreUnreachable):
            await write(writer, permit(5, 5))
    silent = await asyncio.start_server(lambda *_: asyncio.sleep(60), "127.0.0.1", 0)
    port = silent.sockets[0].getsockname()[1]
    async with Store(f"redis://127.0.0.1:{port}", timeout_s=0.2) as writer:
        with pytest.raises(StoreUnreachable):
            await write(writer, permit(5, 5))
    silent.close()
