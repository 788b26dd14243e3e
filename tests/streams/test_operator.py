"""Commands count because of their signature, and control keeps what operators said."""

from __future__ import annotations

import base64
import json
from pathlib import Path
from typing import Any

import pytest
from aiokafka import AIOKafkaProducer

from failshut.signing import TYP_COMMAND, TYP_PERMIT, KeySet, SigningKey
from failshut_breakers.command import (
    Accept,
    AcceptGap,
    Activate,
    Bypass,
    Command,
    CommandError,
    EndBypass,
    Lock,
    OpenTerm,
    Reset,
    parse_command,
)
from failshut_servers import Kafka
from failshut_streams.control.client import (
    COMMAND_BYTES_MAX,
    Operator,
    TermError,
    Unacknowledged,
    command_key,
    new_id,
    read_command,
)
from failshut_streams.kafka.topics import CONTROL_BYTES_MAX, BrokerUnreachable, Topics, TopicsFound, ensure
from failshut_streams.sources.marks import MARK_KEY, encode_mark

KEY = SigningKey.generate()
INSTALLATION = "installationoftests"
WHO: dict[str, Any] = {"installation": INSTALLATION, "by": "ada", "why": "a test", "id": "1"}
COMMANDS: list[Command] = [
    Lock(**WHO, signed_ms=5, gate="a.gate"),
    Reset(**WHO, signed_ms=5, gate="a.gate", epoch=2**41),
    Bypass(**WHO, signed_ms=5, gate="a.gate", epoch=2**41, conditions=("drift",), until_ms=5),
    EndBypass(**WHO, signed_ms=5, gate="a.gate"),
    Accept(**WHO, signed_ms=5, gate="a.gate", epoch=2**41, condition="drift"),
    Activate(**WHO, version=3, files={"a.yaml": "gate: ä"}),
    OpenTerm(**WHO, term=1, evidence_id="x" * 22, evidence_partitions=4, starts={"telemetry": {0: 0, 1: 7}, "control": {0: 0}}),
    AcceptGap(**WHO, signed_ms=5, topic="telemetry", partition=3, upto=99),
]


def signed(command: Command, key: SigningKey = KEY, typ: str = TYP_COMMAND) -> bytes:
    return key.sign(command.model_dump(mode="json"), typ).encode()


@pytest.mark.parametrize("command", COMMANDS, ids=lambda command: command.kind)
def test_a_signed_command_is_read_as_it_was_made(command: Command) -> None:
    """Every kind of command survives signing, JSON and reading."""
    assert read_command(signed(command), KEY.key_set()) == command


def tampered(token: bytes) -> bytes:
    head, payload, signature = token.split(b".")
    claims = json.loads(base64.urlsafe_b64decode(payload + b"=="))
    claims["gate"] = "another.gate"
    return b".".join([head, base64.urlsafe_b64encode(json.dumps(claims).encode()).rstrip(b"="), signature])


@pytest.mark.parametrize(
    ("token", "says"),
    [
        pytest.param(None, "no value", id="tombstone"),
        pytest.param(b"", "no value", id="empty"),
        pytest.param(b"\xff\x00", "UnreadableToken", id="garbage"),
        pytest.param(b'{"kind": "lock"}', "UnreadableToken", id="unsigned"),
        pytest.param(b"e30.e30.", "WrongType", id="no-header"),
        pytest.param(signed(COMMANDS[0], SigningKey.generate()), "UnknownKey", id="nobody-known"),
        pytest.param(signed(COMMANDS[0], typ=TYP_PERMIT), "WrongType", id="a-permit"),
        pytest.param(tampered(signed(COMMANDS[0])), "BadSignature", id="tampered"),
        pytest.param(b"x" * (COMMAND_BYTES_MAX + 1), f"at most {COMMAND_BYTES_MAX}", id="too-long"),
        pytest.param(KEY.sign({"kind": "open_everything"}, TYP_COMMAND).encode(), "not a command", id="another-kind"),
        pytest.param(KEY.sign({**WHO, "kind": "lock"}, TYP_COMMAND).encode(), "not a command", id="incomplete"),
        pytest.param(KEY.sign({**WHO, "kind": "lock", "gate": "g", "x": 1}, TYP_COMMAND).encode(), "not a command", id="more"),
    ],
)
def test_what_is_no_command_says_why(token: bytes | None, says: str) -> None:
    """What is unsigned, forged, foreign, too long or malformed commands nothing."""
    with pytest.raises(CommandError, match=says):
        read_command(token, KEY.key_set())


def test_a_bundle_may_be_longer_than_a_permit() -> None:
    """A policy bundle of a megabyte is read: the bound of permits is not that of commands."""
    command = Activate(**WHO, version=1, files={"a.yaml": "#" * 1_000_000})
    assert read_command(signed(command), KEY.key_set()) == command


def test_no_two_commands_share_a_key() -> None:
    """Compaction, which keeps the newest of each key, removes no command."""
    twice = [Lock(**{**WHO, "id": new_id()}, signed_ms=5, gate="a.gate") for _ in range(2)]
    assert len({command_key(command) for command in twice} | {MARK_KEY}) == 3


@pytest.fixture
async def found(kafka: Kafka, suffix: str) -> TopicsFound:
    return await ensure(kafka.url, Topics(f"operator-{suffix}."))


async def put(kafka: Kafka, topic: str, value: bytes | None, key: bytes) -> None:
    producer = AIOKafkaProducer(bootstrap_servers=kafka.bootstrap)
    await producer.start()
    try:
        await producer.send_and_wait(topic, value, key)
    finally:
        await producer.stop()


async def test_commands_are_read_back_in_order(kafka: Kafka, found: TopicsFound) -> None:
    """What was sent stands in control, in order and at the offsets that were returned; marks and forgeries are passed over."""
    control = found.topics.control
    async with Operator(kafka.url, KEY, found.topics.prefix, "ada", installation=INSTALLATION) as operator:
        offsets = []
        for command in COMMANDS:
            await put(kafka, control, encode_mark(1, 1), MARK_KEY)
            await put(kafka, control, signed(command, SigningKey.generate()), b"forged")
            offsets.append(await operator.send(command))
        await put(kafka, control, None, b"tombstone")
        recorded = await operator.commands()
    assert [one.command for one in recorded] == COMMANDS
    assert [one.offset for one in recorded] == offsets
    assert all(one.time_ms > 1_700_000_000_000 for one in recorded)


async def test_versions_only_grow(kafka: Kafka, found: TopicsFound) -> None:
    """Each activation has a version above every believed one, even one from the future; a forged one counts for nothing."""
    async with Operator(kafka.url, KEY, found.topics.prefix, installation=INSTALLATION) as operator:
        assert await operator.last_activation() is None
        first = await operator.activate({"a.yaml": "x"})
        assert await operator.last_activation() == first
        await operator.send(Activate(**WHO, version=2**52, files={}))
        forged = Activate(**WHO, version=2**53 - 1, files={})
        await put(kafka, found.topics.control, signed(forged, SigningKey.generate()), b"forged")
        version, offset = await operator.activate({"a.yaml": "y"})
        assert version == 2**52 + 1 > first[0]
        assert offset > first[1]
        assert await operator.last_activation() == (version, offset)


async def test_a_command_that_is_too_long_is_refused_before_it_is_sent(kafka: Kafka, found: TopicsFound) -> None:
    """An oversized bundle is an error that says so; the largest that is allowed arrives."""
    async with Operator(kafka.url, KEY, found.topics.prefix, installation=INSTALLATION) as operator:
        with pytest.raises(CommandError, match="at most"):
            await operator.activate({"a.yaml": "#" * CONTROL_BYTES_MAX})
        version, _ = await operator.activate({"a.yaml": "#" * (COMMAND_BYTES_MAX * 3 // 4 - 1_000)})
        assert (await operator.last_activation() or (0, 0))[0] == version


async def test_the_first_term_is_opened_once(kafka: Kafka, found: TopicsFound) -> None:
    """Term 1 names the evidence topic and starts everywhere at 0; asking again finds it open."""
    async with Operator(kafka.url, KEY, found.topics.prefix, installation=INSTALLATION) as operator:
        term, offset, opened = await operator.open_term(found)
        assert opened
        assert (term.term, term.evidence_id, term.evidence_partitions) == (1, found.evidence_id, 4)
        assert term.starts == {
            "telemetry": dict.fromkeys(range(4), 0),
            "otlp_metrics": dict.fromkeys(range(4), 0),
            "internal": {0: 0},
            "control": {0: 0},
        }
        assert await operator.open_term(found) == (term, offset, False)
        next_term, _, opened = await operator.open_term(found, "the log was lost", renew=True)
        assert (next_term.term, opened) == (2, True)


async def test_another_evidence_topic_needs_an_operators_word(kafka: Kafka, found: TopicsFound) -> None:
    """A term that names another evidence topic is not passed over in silence: only `renew` opens the next."""
    async with Operator(kafka.url, KEY, found.topics.prefix, installation=INSTALLATION) as operator:
        old = OpenTerm(**WHO, term=1, evidence_id="x" * 22, evidence_partitions=4, starts={})
        await operator.send(old)
        with pytest.raises(TermError, match="Evidence was lost or replaced"):
            await operator.open_term(found)
        term, _, opened = await operator.open_term(found, renew=True)
        assert (term.term, opened) == (2, True)


async def test_another_operators_term_is_believed_with_the_right_keys(kafka: Kafka, found: TopicsFound) -> None:
    """Whose commands are believed is the key set's to say: without the other's key its term is not seen."""
    other = SigningKey.generate()
    both = KeySet([KEY.public, other.public])
    async with Operator(kafka.url, other, found.topics.prefix, installation=INSTALLATION) as operator:
        await operator.open_term(found)
    async with Operator(kafka.url, KEY, found.topics.prefix, keys=both) as operator:
        assert not (await operator.open_term(found))[2]


async def test_no_broker_is_an_error_of_its_own(free_port: object) -> None:
    """A broker that is not there is no refusal of the command."""
    port = free_port()  # type: ignore[operator]
    with pytest.raises(BrokerUnreachable):
        async with Operator(f"kafka://127.0.0.1:{port}", KEY, timeout_s=1):
            pass


@pytest.mark.kafka
@pytest.mark.slow
async def test_a_command_without_an_answer_is_not_called_sent(tmp_path: Path) -> None:
    """A broker that hangs makes a command unacknowledged: neither sent nor refused."""
    with Kafka(tmp_path) as kafka:
        await ensure(kafka.url, Topics())
        async with Operator(kafka.url, KEY, timeout_s=2, installation=INSTALLATION) as operator:
            await operator.send(COMMANDS[0])
            kafka.pause()
            with pytest.raises(Unacknowledged):
                await operator.send(COMMANDS[1])
            kafka.resume()


async def test_the_first_term_makes_the_installation_and_the_next_keeps_it(kafka: Kafka, found: TopicsFound) -> None:
    """Nobody has to choose an id; an operator who was told none finds it by the evidence topic."""
    async with Operator(kafka.url, KEY, found.topics.prefix) as operator:
        with pytest.raises(TermError, match="no term"):
            await operator.installation()
        first, _, _ = await operator.open_term(found)
        assert len(first.installation) == 32
    async with Operator(kafka.url, KEY, found.topics.prefix) as operator:
        assert await operator.installation() == first.installation
        assert (await operator.open_term(found, renew=True))[0].installation == first.installation
        version, _ = await operator.activate({"a.yaml": "x"})
        assert (await operator.last_activation() or (0, 0))[0] == version


async def test_a_copied_term_has_no_operator_sign_for_another_installation(kafka: Kafka, found: TopicsFound) -> None:
    """Whatever was copied into control, an operator's commands name the installation of the evidence topic."""
    async with Operator(kafka.url, KEY, found.topics.prefix) as operator:
        first, _, _ = await operator.open_term(found)
        copied = OpenTerm(**{**WHO, "term": 99}, evidence_id="x" * 22, evidence_partitions=4, starts={})
        await put(kafka, found.topics.control, signed(copied), b"copied")
    async with Operator(kafka.url, KEY, found.topics.prefix) as operator:
        assert await operator.installation() == first.installation
        assert (await operator.open_term(found, renew=True))[0].term == 2
    async with Operator(kafka.url, KEY, found.topics.prefix, installation=INSTALLATION) as operator:
        with pytest.raises(TermError, match="is of installation"):
            await operator.open_term(found, renew=True)
        with pytest.raises(TermError, match="is of installation"):
            await operator.activate({"a.yaml": "x"})


async def test_a_term_of_an_older_version_is_followed_by_name(kafka: Kafka, found: TopicsFound) -> None:
    """It named no installation, so it counts for nothing; only an operator's word opens the next, with a higher number."""
    claims = {"kind": "term", "by": "ada", "why": "old", "id": "old", "term": 3, "evidence_id": found.evidence_id}
    token = KEY.sign({**claims, "evidence_partitions": 4, "starts": {}}, TYP_COMMAND).encode()
    await put(kafka, found.topics.control, token, b"term/old")
    async with Operator(kafka.url, KEY, found.topics.prefix) as operator:
        with pytest.raises(TermError, match="older version"):
            await operator.open_term(found)
        assert (await operator.open_term(found, renew=True))[0].term == 4


@pytest.mark.parametrize("field", ["by", "why", "id"])
@pytest.mark.parametrize("text", ["\x1b[2J", "two\nlines", "\x00", "\u202e", "\ud800", "\x9b"])
def test_no_command_says_what_a_terminal_would_obey(field: str, text: str) -> None:
    """Control and format characters are refused in every text of every command."""
    with pytest.raises((CommandError, ValueError)):
        parse_command({**COMMANDS[0].model_dump(mode="json"), field: f"ada{text}"})
