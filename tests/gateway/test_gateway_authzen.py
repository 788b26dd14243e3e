"""AuthZEN 1.0: decisions with their reasons, batches with their semantics, and 400 for what is malformed."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from gateway.gateway_support import EVALUATION, EVALUATIONS, Running, question
from guard.standin import Monitor, eventually

from failshut.signing import TYP_CLOSING, TYP_PERMIT, KeySet, SigningKey, TokenError, read_token
from failshut_gateway.hot.mapping import BadMapping, Template, read_mapping
from failshut_gateway.hot.questions import EVALUATIONS_MAX, Question
from failshut_gateway.wire import body as bodies


@pytest.fixture
def gate(monitor: Monitor) -> str:
    monitor.ttl_ms = 600_000
    monitor.issue()
    return monitor.gate


# --- one question ---


def test_an_admission_says_under_which_permit(running: Running, gate: str, key: str, monitor: Monitor) -> None:
    """The decision's context has the epoch, which fences the resource, and the permit's id."""
    reply = running.post(EVALUATION, key, question(gate))
    assert (reply.status, reply.headers["content-type"]) == (200, "application/json")
    assert reply.json["decision"] is True
    context = reply.json["context"]
    assert (context["epoch"], context["mode"]) == (monitor.epoch, "armed")
    assert context["permit"].startswith(f"{gate}:{monitor.epoch}:")


@pytest.mark.parametrize(
    ("changes", "cause", "failed"),
    [
        ({"subject": {"type": "agent", "id": "other"}}, "identity", "identity"),
        ({"subject": {"type": "user", "id": "eve"}}, "identity", "identity"),
        ({"action": {"name": "scale"}}, "operation", "operation"),
        ({"resource": {"type": "gate", "id": "no.such"}}, "no_permit", "proof"),
        ({"resource": {"type": "gate", "id": "../x"}}, "unknown_gate", "proof"),
        ({"resource": {"type": "record", "id": "1"}}, "unknown_gate", "proof"),
        ({"subject": {"type": "agent:refund", "id": "7"}}, "unknown_gate", "proof"),
        ({"subject": {"type": "agent", "id": "refund-7\n"}}, "identity", "identity"),
    ],
)
def test_a_denial_says_why_and_which_check_failed(
    running: Running, monitor: Monitor, key: str, changes: dict[str, Any], cause: str, failed: str
) -> None:
    """200 with false: the cause of the fixed list, and which of the five checks refused."""
    monitor.ttl_ms = 600_000
    monitor.issue(operations=("refund",))
    assert running.post(EVALUATION, key, question(monitor.gate)).json["decision"] is True
    reply = running.post(EVALUATION, key, question(monitor.gate, **changes))
    assert (reply.status, reply.json["decision"]) == (200, False)
    assert (reply.json["context"]["cause"], reply.json["context"]["failed"]) == (cause, failed)


def test_a_key_is_for_its_subjects_and_gates(running: Running, gate: str, monitor: Monitor) -> None:
    """Where the permit admits everybody, a key still asks for nobody but its own, and at no other gate."""
    monitor.reopen(subjects=("*",))
    eve = question(gate, subject={"type": "user", "id": "eve"})
    assert running.post(EVALUATION, running.key(subjects=["*"]), eve).json["decision"] is True
    for key in (running.key(), running.key(subjects=["*"], gates=["other.*"])):
        found = running.post(EVALUATION, key, eve).json
        assert (found["decision"], found["context"]["failed"]) == (False, "identity")


def test_a_permit_for_another_environment_denies(running: Running, monitor: Monitor, key: str) -> None:
    """What the gateway's own guard says of itself counts, and nothing that a caller claims."""
    monitor.issue(context={"environment": "production"}, ttl_ms=600_000)
    asked = question(monitor.gate, context={"environment": "production"})
    reply = running.post(EVALUATION, key, asked)
    assert reply.json["context"]["failed"] == "environment"


def test_a_closing_denies_with_its_cause(running: Running, gate: str, key: str, monitor: Monitor) -> None:
    """What the monitor said reaches the caller."""
    assert running.post(EVALUATION, key, question(gate)).json["decision"] is True
    monitor.close()
    found = eventually(lambda: (reply := running.post(EVALUATION, key, question(gate)).json)["decision"] is False and reply)
    assert found["context"]["cause"] == "drift"


def test_a_request_id_comes_back(running: Running, gate: str, key: str) -> None:
    """As it was sent, with a decision and with an error; without one there is none."""
    good = running.post(EVALUATION, key, question(gate), X_Request_ID="abc 1")
    bad = running.post(EVALUATION, key, {"subject": 1}, X_Request_ID="abc 1")
    assert (good.headers["x-request-id"], bad.status, bad.headers["x-request-id"]) == ("abc 1", 400, "abc 1")
    assert "x-request-id" not in running.post(EVALUATION, key, question(gate)).headers
    assert running.post(EVALUATION, key, question(gate), X_Request_ID="a" * 257).status == 400


def _changed(**changes: Any) -> dict[str, Any]:
    return {name: value for name, value in {**question("g"), **changes}.items() if value is not None}


@pytest.mark.parametrize(
    "document",
    [
        *(b"", b"{", b"[]", b"null", b'"x"', b"\xff", b'{"a": NaN}', b"[" * 60_000, b'{"a":' * 9_000, b"9" * 5_000),
        b'{"subject": {"type": "a", "id": "b"}, "subject": {"type": "a", "id": "c"}}',
        *(_changed(subject=None), _changed(action=None), _changed(resource=None), _changed(subject="alice")),
        *(_changed(subject={"id": "a"}), _changed(subject={"type": "a"}), _changed(action={}), _changed(action={"name": 123})),
        *(_changed(resource={"type": "gate"}), _changed(resource={"id": "x"}), _changed(context=[]), _changed(resource=[])),
        *(_changed(subject={"type": "a", "id": "b", "properties": 1}), _changed(subject={"type": "", "id": "b"})),
    ],
)
def test_what_is_malformed_is_400(running: Running, key: str, document: Any) -> None:
    """For the single question and for the batch alike, with a text that says what is wrong."""
    for path in (EVALUATION, EVALUATIONS):
        reply = running.post(path, key, document)
        assert reply.status == 400
        assert isinstance(reply.json, str)


def test_another_content_type_or_method_is_400(running: Running, gate: str, key: str) -> None:
    """The body is JSON and says so; a charset beside it is accepted."""
    assert running.post(EVALUATION, key, question(gate), Content_Type="text/plain").status == 400
    assert running.post(EVALUATION, key, question(gate), Content_Type="application/json; charset=utf-8").status == 200
    assert running.get(EVALUATION, key).status == 400


def test_unknown_fields_are_ignored(running: Running, gate: str, key: str) -> None:
    """A later version's fields change no decision."""
    assert running.post(EVALUATION, key, question(gate, foo="bar", future={"a": [1]})).json["decision"] is True


def test_without_a_key_malformed_and_good_look_alike(running: Running, gate: str) -> None:
    """Nothing is read of a stranger's body, and nothing is said about it."""
    replies = [running.post(EVALUATION, "", question(gate)), running.post(EVALUATION, "", b"{"), running.get(EVALUATION, "")]
    replies += [running.post(EVALUATIONS, running.key(role="viewer"), question(gate))]
    assert [(reply.status, reply.body) for reply in replies] == [(403, b"")] * 4


# --- bodies ---


def test_a_body_that_is_too_long_is_refused_before_it_is_read(running: Running, key: str) -> None:
    """By its length if it says one, and at the bound if it does not."""
    head = f"POST {EVALUATION} HTTP/1.1\r\nhost: x\r\nx-failshut-key: {key}\r\ncontent-type: application/json\r\n"
    assert running.raw(f"{head}content-length: 1000000000\r\n\r\n".encode()).startswith(b"HTTP/1.1 413")
    chunks = b"10000\r\n" + b" " * 65_536 + b"\r\n" + b"1\r\n \r\n"
    assert running.raw(f"{head}transfer-encoding: chunked\r\n\r\n".encode() + chunks).startswith(b"HTTP/1.1 413")


def test_a_body_that_does_not_come_is_408(running: Running, key: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """A sender that stops in the middle is let go."""
    monkeypatch.setattr(bodies, "BODY_SECONDS_MAX", 0.2)
    head = f"POST {EVALUATION} HTTP/1.1\r\nhost: x\r\nx-failshut-key: {key}\r\ncontent-type: application/json\r\n"
    assert running.raw(f"{head}content-length: 100\r\n\r\n{{".encode()).startswith(b"HTTP/1.1 408")


def test_an_exception_is_403(running: Running, gate: str, key: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """A fault is neither a decision nor a 5xx."""

    def broken(*given: Any) -> Any:
        raise ZeroDivisionError("a fault")

    monkeypatch.setattr(running.gateway._authzen, "_rules", broken)
    reply = running.post(EVALUATION, key, question(gate))
    assert (reply.status, reply.body) == (403, b"")


# --- several questions ---


def test_a_batch_is_answered_in_order_with_defaults(running: Running, gate: str, key: str) -> None:
    """An item replaces a default as a whole; without an item's own it is the default's."""
    eve = {"type": "user", "id": "eve"}
    reply = running.post(EVALUATIONS, key, question(gate, evaluations=[{}, {"subject": eve}, {}]))
    assert [item["decision"] for item in reply.json["evaluations"]] == [True, False, True]
    assert "decision" not in reply.json


def test_a_malformed_item_is_a_denial_of_its_own(running: Running, gate: str, key: str) -> None:
    """The rest of the batch is answered."""
    asked = question(gate, evaluations=[{}, {"resource": {}}, 7, {}])
    reply = running.post(EVALUATIONS, key, asked)
    assert [item["decision"] for item in reply.json["evaluations"]] == [True, False, False, True]
    assert reply.json["evaluations"][1]["context"]["error"]["status"] == 400


@pytest.mark.parametrize(
    ("semantic", "decisions"),
    [
        ("execute_all", [False, True, False, True]),
        ("deny_on_first_deny", [False]),
        ("permit_on_first_permit", [False, True]),
        (None, [False, True, False, True]),
    ],
)
def test_semantics_end_a_batch(running: Running, gate: str, key: str, semantic: str | None, decisions: list[bool]) -> None:
    """As the specification has it: all, up to the first denial, up to the first admission."""
    other = {"resource": {"type": "gate", "id": "no.such"}}
    asked = question(gate, evaluations=[other, {}, {"subject": {"type": "agent"}}, {}])
    if semantic is not None:
        asked["options"] = {"evaluations_semantic": semantic}
    reply = running.post(EVALUATIONS, key, asked)
    assert [item["decision"] for item in reply.json["evaluations"]] == decisions


def test_a_batch_without_items_is_one_question(running: Running, gate: str, key: str) -> None:
    """Without a list, and with an empty one."""
    for asked in (question(gate), question(gate, evaluations=[])):
        assert running.post(EVALUATIONS, key, asked).json["decision"] is True


@pytest.mark.parametrize(
    "changes",
    [
        {"evaluations": {}},
        {"evaluations": [{}] * (EVALUATIONS_MAX + 1)},
        {"evaluations": [{}], "options": []},
        {"evaluations": [{}], "options": {"evaluations_semantic": "any"}},
        {"evaluations": [{}], "options": {"evaluations_semantic": ["execute_all"]}},
        {"evaluations": [{}], "subject": "alice"},
        {"evaluations": [{}], "context": "x"},
    ],
)
def test_a_batch_that_is_wrong_as_a_whole_is_400(running: Running, gate: str, key: str, changes: dict[str, Any]) -> None:
    """Too many, an unknown semantic, a default that is none."""
    assert running.post(EVALUATIONS, key, question(gate, **changes)).status == 400


def test_a_batch_counts_as_many_questions(running: Running, gate: str, key: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """A key's rate is of questions, not of requests."""
    rates = running.gateway._authzen._doorkeeper._rates
    monkeypatch.setattr(rates, "_monotonic", lambda: 0.0)
    monkeypatch.setattr(rates, "_per_second", 5)
    reply = running.post(EVALUATIONS, key, question(gate, evaluations=[{}] * 6))
    assert (reply.status, reply.headers["retry-after"]) == (429, "1")
    assert running.post(EVALUATIONS, key, question(gate, evaluations=[{}] * 4)).status == 200


def test_discovery_says_where_to_ask(running: Running) -> None:
    """Without a key: it tells nothing of any gate."""
    reply = running.get("/.well-known/authzen-configuration")
    url = f"http://127.0.0.1:{running.port}"
    assert (reply.status, reply.headers["content-type"]) == (200, "application/json")
    assert reply.json == {
        "policy_decision_point": url,
        "access_evaluation_endpoint": url + EVALUATION,
        "access_evaluations_endpoint": url + EVALUATIONS,
    }


# --- rules ---

RULES = b"""
[[rule]]
when = {"resource.type" = "record", "action.name" = "write", "resource.properties.status" = "archived"}
gate = "records.write-archived"
subject = "{subject.type}:{subject.id};role={subject.properties.role}"

[[rule]]
when = {"resource.type" = "record", "action.name" = "delete", "action.properties.soft" = true}
gate = "records.delete-soft"

[[rule]]
when = {"resource.type" = "record"}
gate = "{resource.type}s.{action.name}"
"""


def _record(action: str, subject: dict[str, Any], **properties: Any) -> Question:
    return Question(subject, {"name": action, **properties}, {"type": "record", "id": "1"}, {})


@pytest.fixture
def ruled(monitor: Monitor, tmp_path: Path) -> Iterator[Running]:
    with Running(monitor, tmp_path / "access.json", rules=read_mapping(RULES)) as running:
        yield running


def test_rules_lead_from_resources_to_gates(ruled: Running, monitor: Monitor) -> None:
    """A fixture policy: who may read, write, write what is archived, and delete softly."""
    key = ruled.key(subjects=["user:*"])
    monitor.ttl_ms = 600_000
    opened = {
        "records.read": ("user:alice", "user:bob"),
        "records.write": ("user:alice",),
        "records.write-archived": ("user:*;role=admin",),
        "records.delete-soft": ("user:alice",),
    }
    for gate, subjects in opened.items():
        other = Monitor(monitor.url, gate, monitor.key)
        other.ttl_ms = 600_000
        other.issue(subjects=subjects)
        other.shut_down()

    def decides(who: str, action: str, status: str = "", role: str = "", soft: bool | None = None) -> bool:
        document = {
            "subject": {"type": "user", "id": who, **({"properties": {"role": role}} if role else {})},
            "action": {"name": action, **({} if soft is None else {"properties": {"soft": soft}})},
            "resource": {"type": "record", "id": "record-1", **({"properties": {"status": status}} if status else {})},
        }
        found: bool = ruled.post(EVALUATION, key, document).json["decision"]
        return found

    assert [decides("alice", "read"), decides("alice", "write"), decides("bob", "read"), decides("bob", "write")] == [
        *(True, True, True, False),
    ]
    assert not decides("alice", "write", "archived")
    assert decides("bob", "write", "archived", role="admin")
    assert not decides("bob;role=admin", "write", "archived")
    assert not decides("bob;role=admin", "write", "archived", role="x")
    assert [decides("alice", "delete", soft=True), decides("alice", "delete", soft=False)] == [True, False]


def test_a_rule_that_is_met_and_cannot_be_filled_in_denies() -> None:
    """No later rule is tried: it might be wider. True is not 1, and a missing property meets nothing."""
    rules = read_mapping(RULES)
    user = {"type": "user", "id": "bob"}
    archived = Question(user, {"name": "write"}, {"type": "record", "id": "1", "properties": {"status": "archived"}}, {})
    assert rules.target(archived) is None
    found = rules.target(_record("delete", user, properties={"soft": 1}))
    assert found is not None
    assert found.gate == "records.delete"


@pytest.mark.parametrize(
    "text",
    [
        *(b"", b"x = 1", b"[[rule]]", b"[[rule]]\ngate='a'", b"[[rule]]\nwhen={}\ngate=1", b"\xff", b"rule = []"),
        *(b"[[rule]]\nwhen={}\ngate='{x}'", b"[[rule]]\nwhen={}\ngate='{subject.id}{action.name}'"),
        *(
            b"[[rule]]\nwhen={a='b'}\ngate='g'",
            b"[[rule]]\nwhen={}\ngate='g'\nmore=1",
            b"[[rule]]\nwhen={'subject.id'=1.5}\ngate='g'",
        ),
    ],
)
def test_a_file_of_rules_that_is_wrong_is_refused(text: bytes) -> None:
    """With the rule's number, and at the start: a gateway never runs on half of its rules."""
    with pytest.raises(BadMapping):
        read_mapping(text)


def test_a_template_has_one_meaning() -> None:
    """Punctuation that stands between fields may stand in the last one alone."""
    template = Template("{subject.type}:{subject.id}")
    assert template.filled(Question({"type": "agent", "id": "a:b"}, {}, {}, {})) == "agent:a:b"
    assert template.filled(Question({"type": "agent:a", "id": "b"}, {}, {}, {})) is None
    assert template.filled(Question({"type": "agent"}, {}, {}, {})) is None


def test_discovery_is_signed_by_a_key_of_its_own(monitor: Monitor, tmp_path: Path) -> None:
    """A reader verifies it with the published key, which is not in the monitor's key set: no guard trusts it."""
    import jwt

    SigningKey.generate().save(tmp_path / "metadata.pem")
    with Running(
        monitor, tmp_path / "access.json", metadata_key=str(tmp_path / "metadata.pem"), url="https://pdp.example"
    ) as running:
        document = running.get("/.well-known/authzen-configuration").json
        (published,) = running.get("/.well-known/failshut-gateway-jwks.json").json["keys"]
        signed = document.pop("signed_metadata")
        claims = jwt.decode(signed, jwt.PyJWK(published), algorithms=["EdDSA"], issuer="https://pdp.example")
        assert claims == {"iss": "https://pdp.example", **document}
        monitors = running.get("/.well-known/jwks.json").json
        assert published["kid"] not in {key["kid"] for key in monitors["keys"]}
        with pytest.raises(TokenError):
            read_token(signed, KeySet.from_dict(monitors), TYP_PERMIT, TYP_CLOSING)
        with pytest.raises(TokenError):
            read_token(signed, KeySet.from_dict({"keys": [published]}), TYP_PERMIT, TYP_CLOSING)


def test_without_a_key_discovery_is_not_signed(running: Running) -> None:
    """And no key is published."""
    assert "signed_metadata" not in running.get("/.well-known/authzen-configuration").json
    assert running.get("/.well-known/failshut-gateway-jwks.json").json == {"keys": []}
