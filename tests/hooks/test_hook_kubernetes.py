"""Kubernetes: a change that is withheld is denied, and so is one whose hook fails, over HTTPS as an API server asks."""

from __future__ import annotations

import http.client
import json
import ssl
import subprocess
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml
from gateway.identity_support import Authority
from guard.standin import eventually
from hooks.conftest import broken
from patience import patient

from failshut import Cause
from failshut.testing import GateControl
from failshut_servers import free_port

ROOT = Path(__file__).resolve().parents[2]
MANIFEST = ROOT / "docker" / "kubernetes" / "webhook.yaml"
VALIDATE = ROOT / ".venv-agents" / "bin" / "kubernetes-validate"
AUTHOR = "system:serviceaccount:shop:autoscaler"
UID = "705ab4f5-6393-11e8-b7cc-42010a800002"


def review(**changes: Any) -> dict[str, Any]:
    """What an API server sends before a deployment gets another number of replicas."""
    scale = {"apiVersion": "autoscaling/v1", "kind": "Scale", "metadata": {"name": "refunds"}, "spec": {"replicas": 30}}
    request = {
        "uid": UID,
        "kind": {"group": "autoscaling", "version": "v1", "kind": "Scale"},
        "resource": {"group": "apps", "version": "v1", "resource": "deployments"},
        "subResource": "scale",
        "name": "refunds",
        "namespace": "shop",
        "operation": "UPDATE",
        "userInfo": {"username": AUTHOR, "groups": ["system:serviceaccounts"]},
        "object": scale,
        "oldObject": {**scale, "spec": {"replicas": 3}},
        "dryRun": False,
    }
    return {"apiVersion": "admission.k8s.io/v1", "kind": "AdmissionReview", "request": {**request, **changes}}


def by_author(request: dict[str, Any]) -> str:
    return str(request["userInfo"]["username"])


class Webhook:
    """The hook behind a web server with a certificate, and an API server's client of it."""

    def __init__(self, control: GateControl, folder: Path, **options: Any) -> None:
        uvicorn = pytest.importorskip("uvicorn")
        from failshut.hooks.kubernetes import AdmissionWebhook

        authority = Authority(folder)
        cert, key = authority.certificate("webhook", "127.0.0.1")
        self._context = ssl.create_default_context(cafile=str(authority.path))
        self.port = free_port()
        app = AdmissionWebhook(control.gate, **{"subject": by_author, **options})
        files = {"ssl_certfile": str(cert), "ssl_keyfile": str(key)}
        self._server = uvicorn.Server(uvicorn.Config(app, port=self.port, log_level="critical", **files))
        self._thread = threading.Thread(target=self._server.run, daemon=True)
        self._thread.start()
        eventually(lambda: self._server.started)

    def post(self, body: bytes, method: str = "POST") -> tuple[int, bytes]:
        """One request; its status and the body of the answer."""
        connection = http.client.HTTPSConnection("127.0.0.1", self.port, timeout=patient(20), context=self._context)
        try:
            connection.request(method, "/?timeout=2s", body, {"content-type": "application/json"})
            answer = connection.getresponse()
            return answer.status, answer.read()
        finally:
            connection.close()

    def asked(self, **changes: Any) -> dict[str, Any]:
        """What an API server makes of the answer; it takes nothing but an AdmissionReview with the same uid."""
        status, body = self.post(json.dumps(review(**changes)).encode())
        told = json.loads(body)
        assert (status, told["apiVersion"], told["kind"]) == (200, "admission.k8s.io/v1", "AdmissionReview")
        assert told["response"]["uid"] == UID
        return dict(told["response"])

    def stop(self) -> None:
        self._server.should_exit = True
        self._thread.join(patient(20))


@pytest.fixture
def webhook(control: GateControl, tmp_path: Path) -> Iterator[Callable[..., Webhook]]:
    """A function that starts one."""
    running: list[Webhook] = []

    def start(**options: Any) -> Webhook:
        running.append(Webhook(control, tmp_path, **options))
        return running[-1]

    yield start
    for one in running:
        one.stop()


def test_a_change_is_denied_and_allowed(control: GateControl, webhook: Callable[..., Webhook]) -> None:
    """Its author reads the cause. A dry run is asked for as well."""
    server = webhook()
    control.close(Cause.LOCK)
    denied = server.asked()
    assert (denied["allowed"], denied["status"]["code"], "(lock)" in denied["status"]["message"]) == (False, 403, True)
    assert not server.asked(dryRun=True)["allowed"]
    control.open()
    assert server.asked() == {"uid": UID, "allowed": True}
    control.prove(3)  # what only asks takes no probe
    assert (server.asked()["allowed"], control.probes_left) == (False, 3)
    assert server.post(b"", "GET") == (204, b"")


@pytest.mark.parametrize("options", [{"subject": broken}, {"subject": lambda request: 7}, {"subject": ""}])
def test_a_hook_that_fails_denies(control: GateControl, webhook: Callable[..., Webhook], options: dict[str, Any]) -> None:
    """It says so in an answer, which denies even where `failurePolicy` says Ignore."""
    control.open()
    assert not webhook(**options).asked()["allowed"]


def test_what_is_no_review_is_no_answer(control: GateControl, webhook: Callable[..., Webhook]) -> None:
    """An API server takes none of these for an answer, and `failurePolicy: Fail` denies. Too much is not read."""
    control.open()
    server = webhook()
    for body in (b"", b"{", b"[]", b"{}", b'{"request": 7}', b'{"request": {}}', b"\xff", b"[" * 100_000):
        status, answer = server.post(body)
        assert (status, "allowed" in answer.decode()) == (400, False), body[:20]
    huge = json.dumps(review(object="x" * (9 << 20))).encode()
    try:
        assert server.post(huge)[0] == 400
    except (ConnectionError, ssl.SSLError):
        pass  # it hung up on a client that went on sending
    assert not json.loads(server.post(json.dumps(review(userInfo={})).encode())[1])["response"]["allowed"]


def test_the_manifest_fails_shut() -> None:
    """No answer denies, soon; and what the webhook itself needs to come back does not wait for it."""
    configuration, service = yaml.safe_load_all(MANIFEST.read_text(encoding="utf-8"))
    (only,) = configuration["webhooks"]
    assert (only["failurePolicy"], only["sideEffects"], only["admissionReviewVersions"]) == ("Fail", "None", ["v1"])
    assert only["timeoutSeconds"] <= 3
    (selector,) = only["namespaceSelector"]["matchExpressions"]
    own = only["clientConfig"]["service"]
    assert (selector["operator"], {"kube-system", own["namespace"]} <= set(selector["values"])) == ("NotIn", True)
    assert (service["metadata"], service["spec"]["ports"][0]["port"]) == (
        {"namespace": own["namespace"], "name": own["name"]},
        own["port"],
    )


@pytest.mark.slow
@pytest.mark.parametrize("version", ["1.30.0", "1.37.0"])
def test_the_manifest_is_what_kubernetes_reads(tmp_path: Path, version: str) -> None:
    """Its schemas know every field; with a word that they do not know, they say so."""
    if not VALIDATE.exists():
        pytest.skip("kubernetes-validate is not installed here (make agents)")
    wrong = tmp_path / "wrong.yaml"
    wrong.write_text(MANIFEST.read_text(encoding="utf-8").replace("failurePolicy:", "failurePolice:"), encoding="utf-8")

    def judged(path: Path) -> subprocess.CompletedProcess[str]:
        command = [str(VALIDATE), "--strict", "-k", version, str(path)]
        return subprocess.run(command, capture_output=True, text=True, timeout=patient(60))

    ended = judged(MANIFEST)
    assert ended.returncode == 0, ended.stdout + ended.stderr
    assert judged(wrong).returncode != 0
