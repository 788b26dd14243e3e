"""Celery, Dramatiq and gRPC: work that is withheld is not done, and neither is work whose hook fails."""

from __future__ import annotations

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest
from hooks.conftest import broken
from patience import patient

from failshut import Cause, Withheld
from failshut.testing import GateControl

SUBJECT = "service:refunds"


def celery_task(control: GateControl, executed: list[str], **options: Any) -> Any:
    celery = pytest.importorskip("celery")
    from failshut.hooks.celery import GuardedTask

    app = celery.Celery("shop", broker="memory://", backend="cache+memory://")

    @app.task(base=GuardedTask, **{"gate": control.gate, "subject": SUBJECT, **options})
    def refund(order: str) -> str:
        executed.append(order)
        if order == "fails":
            raise RuntimeError("no")
        return f"paid {order}"

    return refund


def test_celery_withholds_and_admits(control: GateControl, executed: list[str]) -> None:
    """A task that is withheld fails with its cause, called or applied; its body runs while the gate is open."""
    task = celery_task(control, executed)
    control.close(Cause.LOCK)
    ended = task.apply(args=["7"])
    assert (ended.state, type(ended.result), ended.result.cause) == ("FAILURE", Withheld, Cause.LOCK)
    with pytest.raises(Withheld):
        task("7")
    assert executed == []
    control.open()
    assert task.apply(args=["7"]).result == "paid 7"
    assert task.apply(args=["fails"]).state == "FAILURE"
    assert control.outcomes() == {"ok": 1, "failed": 1}


def test_celery_tries_again_where_it_is_told_to(control: GateControl, executed: list[str]) -> None:
    """A withheld task is retried, as often as Celery allows, and runs once the gate is open."""
    task = celery_task(control, executed, retry_seconds=0, max_retries=2)
    assert task.apply(args=["7"]).state in ("RETRY", "FAILURE")
    assert executed == []
    asked = []

    def opens_at_last(request: Any) -> str:
        asked.append(request.retries)
        if len(asked) == 2:
            control.open()
        return SUBJECT

    assert celery_task(control, executed, retry_seconds=0, max_retries=2, subject=opens_at_last).apply(args=["8"]).result == (
        "paid 8"
    )
    assert (asked, executed) == ([0, 1], ["8"])


@pytest.mark.parametrize(
    "options", [{"subject": broken}, {"gate": None}, {"subject": ""}], ids=["raises", "no gate", "no name"]
)
def test_celery_that_fails_executes_nothing(control: GateControl, executed: list[str], options: dict[str, Any]) -> None:
    """A task whose hook fails, fails."""
    control.open()
    assert celery_task(control, executed, **options).apply(args=["7"]).state == "FAILURE"
    assert executed == []


def dramatiq_broker(control: GateControl, executed: list[str], **options: Any) -> Any:
    """A broker in memory and an actor behind the gate; `send(order)` processes what waits."""
    dramatiq = pytest.importorskip("dramatiq")
    from dramatiq.brokers.stub import StubBroker

    from failshut.hooks.dramatiq import GateMiddleware

    broker = StubBroker()
    broker.emit_after("process_boot")
    broker.add_middleware(GateMiddleware({"refund": control.gate}, **{"subject": SUBJECT, **options}))

    @dramatiq.actor(broker=broker, max_retries=0)
    def refund(order: str) -> None:
        executed.append(order)
        if order == "fails":
            raise RuntimeError("no")

    def send(order: str) -> None:
        worker = dramatiq.Worker(broker, worker_timeout=50, worker_threads=1)
        worker.start()
        try:
            refund.send(order)
            broker.join(refund.queue_name, timeout=int(patient(20) * 1000), fail_fast=False)
            worker.join()
        finally:
            worker.stop()

    return send


def test_dramatiq_withholds_and_admits(control: GateControl, executed: list[str]) -> None:
    """A message that is withheld is skipped; others are executed, and their outcome counts."""
    send = dramatiq_broker(control, executed)
    control.close(Cause.DRIFT)
    send("7")
    assert executed == []
    control.open()
    send("8")
    send("fails")
    assert executed == ["8", "fails"]
    assert control.outcomes() == {"ok": 1, "failed": 1}


def test_dramatiq_brings_a_message_again_where_it_is_told_to(control: GateControl, executed: list[str]) -> None:
    """It goes back into the queue, and is executed once the gate is open."""
    asked: list[str] = []

    def opens_at_last(message: Any) -> str:
        asked.append(message.message_id)
        if len(asked) == 3:
            control.open()
        return SUBJECT

    dramatiq_broker(control, executed, again_ms=10, subject=opens_at_last)("7")
    assert executed == ["7"]
    assert len(asked) == 3


def test_dramatiq_that_fails_executes_nothing(control: GateControl, executed: list[str]) -> None:
    """Dramatiq goes on after any other error of a middleware: this hook raises none."""
    control.open()
    dramatiq_broker(control, executed, subject=broken)("7")
    assert executed == []


@pytest.fixture
def served(control: GateControl, executed: list[str]) -> Iterator[Any]:
    """A function that starts a server with a hook, and returns a channel to it."""
    grpc = pytest.importorskip("grpc")
    from failshut.hooks.grpc import GateInterceptor

    def pay(request: bytes, context: Any) -> bytes:
        executed.append(request.decode())
        return b"paid " + request

    def pay_each(request: bytes, context: Any) -> Iterator[bytes]:
        for number in range(3):
            executed.append(f"{number}")
            yield b"%d" % number
            control.close(Cause.DRIFT)

    methods = {"Pay": grpc.unary_unary_rpc_method_handler(pay), "PayEach": grpc.unary_stream_rpc_method_handler(pay_each)}
    running: list[Any] = []

    def serve(**options: Any) -> Any:
        interceptor = GateInterceptor(control.gate, **{"subject": SUBJECT, **options})
        server = grpc.server(ThreadPoolExecutor(2), interceptors=[interceptor])
        server.add_generic_rpc_handlers([grpc.method_handlers_generic_handler("shop.Shop", methods)])
        port = server.add_insecure_port("127.0.0.1:0")
        server.start()
        channel = grpc.insecure_channel(f"127.0.0.1:{port}")
        running.extend([channel.close, lambda: server.stop(0).wait()])
        return channel

    yield serve
    for end in running:
        end()


def test_grpc_withholds_and_admits(control: GateControl, executed: list[str], served: Any) -> None:
    """UNAVAILABLE with the cause while it is closed; a stream ends where the gate closes."""
    import grpc

    channel = served()
    pay, each = channel.unary_unary("/shop.Shop/Pay"), channel.unary_stream("/shop.Shop/PayEach")
    control.close(Cause.LOCK)
    with pytest.raises(grpc.RpcError) as denied:
        pay(b"7", timeout=patient(20))
    assert denied.value.code() is grpc.StatusCode.UNAVAILABLE
    assert "lock" in denied.value.details()
    assert executed == []
    control.open()
    assert pay(b"7", timeout=patient(20)) == b"paid 7"
    answers = []
    with pytest.raises(grpc.RpcError) as ended:
        answers.extend(iter(each(b"", timeout=patient(20))))
    assert "drift" in ended.value.details()
    assert executed == ["7", "0", "1"]


def test_grpc_that_fails_executes_nothing(control: GateControl, executed: list[str], served: Any) -> None:
    """A call whose hook fails, fails; one that is not meant passes."""
    import grpc

    control.open()
    for options in ({"subject": broken}, {"when": broken}):
        with pytest.raises(grpc.RpcError):
            served(**options).unary_unary("/shop.Shop/Pay")(b"7", timeout=patient(20))
    assert executed == []
    control.close()
    assert served(when=lambda details: False).unary_unary("/shop.Shop/Pay")(b"8", timeout=patient(20)) == b"paid 8"
