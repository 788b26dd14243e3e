"""A password is in no error, log, representation or help, however its address is broken: for Kafka and the store."""

from __future__ import annotations

import contextlib
import io
import logging
import os
import sys
import traceback
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any
from urllib.parse import quote

import msgspec
import pytest
import redis
from hypothesis import HealthCheck, Phase, example, given, settings
from hypothesis import strategies as st
from pydantic import ValidationError

from failshut import Configuration, Gate, Guard, Withheld
from failshut.config import from_environment
from failshut.network.address import AddressError, redact, settings_from, with_settings
from failshut.signing import KeySet, SigningKey
from failshut.store.address import StoreAddress
from failshut.store.connection import connect
from failshut.store.names import Names
from failshut_breakers.store.client import Store
from failshut_console.local.state import Runtime, State
from failshut_console.main import main, show_unexpected
from failshut_streams.config import WorkerConfig
from failshut_streams.control.operators import OperatorsFile
from failshut_streams.health import Report
from failshut_streams.kafka.address import Broker, client_options, shown

MARKER = "qZ7vXw"
"""Of this no surface may show any part that is three letters long."""
PARTS = tuple(MARKER[at : at + 3] for at in range(len(MARKER) - 2))

SPECIAL = [*'/@#?% :&=[],;\\"\n\0\udcffü', "", "%zz", "%ff", "%00", "://"]


def shows(text: str) -> str:
    """The part of the marker that a text shows, or an empty text."""
    return next((part for part in PARTS if part in text), "")


@st.composite
def passwords(draw: st.DrawFn) -> str:
    """The marker, broken up by what breaks addresses."""
    before, within, after = (draw(st.sampled_from(SPECIAL)) for _ in range(3))
    half = len(MARKER) // 2
    text = f"{before}{MARKER[:half]}{within}{MARKER[half:]}{after}"
    return quote(text, safe="", errors="surrogateescape") if draw(st.booleans()) else text


@st.composite
def addresses(draw: st.DrawFn, kind: str) -> str:
    """An address with a password in it, whole or broken in one of the ways in which people break them."""
    schemes = {"store": ["redis", "rediss", "valkey", "unix", "redis+sentinel"], "broker": ["kafka", "kafkas", "kafka+ssl"]}
    scheme = draw(st.sampled_from([*schemes[kind], "http", "", "Redis", "FAILSHUT_STORE=redis", '"redis', "redis:"]))
    login = draw(st.sampled_from(["mon:{}@", ":{}@", "{}@", "mon:{}", "a:{}@b:{}@", "mon:{}@@", "{}:mon@", "mon:{}:{}@"]))
    # A host that is a name cannot be told from a password that was put in its place, so there is none made of the marker.
    port = draw(st.sampled_from([":1", "", ":", ":x", ":99999", ":1:2", ":-1"]))
    tail = draw(
        st.sampled_from(
            ["", "/0", "/x", "/0?db=x", "?mechanism=SCRAM-SHA-512", "?password={}", "?passwrd={}", "?{}", "/{}", "#{}"]
        )
    )
    between = draw(st.sampled_from(["://", "://", "://", ":/", ":", "//", ""]))
    password = draw(passwords())
    return f"{scheme}{between}{login}127.0.0.1{port}{tail}".replace("{}", password)


def told(error: BaseException | None) -> Iterator[str]:
    """Everything that an error could be made to say: itself, and all that hangs on it, suppressed or not."""
    seen: set[int] = set()
    waiting = [error]
    while waiting:
        at = waiting.pop()
        if at is None or id(at) in seen:
            continue
        seen.add(id(at))
        yield f"{at} {at!r} {at.args!r}"
        yield "".join(traceback.format_exception(at))
        waiting += [at.__cause__, at.__context__]


def tried(action: Callable[[], Any]) -> list[str]:
    """What is said when something is done, whether it works or not."""
    try:
        return [repr(action())]
    except Exception as error:
        return list(told(error))


@pytest.mark.slow
@settings(max_examples=400, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(address=addresses("store"))
@example(address=f"redis://mon:{MARKER[:3]}/{MARKER[3:]}@127.0.0.1:1/0")
def test_no_store_address_is_quoted(address: str) -> None:
    """Not by the parser, the clients, the guard's configuration, the worker's, or their representations."""
    worker = {"broker": "kafka://a:1", "signing_key": "k", "operators": "o"}
    said = [
        *tried(lambda: StoreAddress.parse(address)),
        *tried(lambda: connect(address, 0.5)),
        *tried(lambda: Store(address, 0.5)),
        *tried(lambda: Configuration(store_url=address, outcomes_store_url=address)),
        *tried(lambda: from_environment({"FAILSHUT_STORE": address})),
        *tried(lambda: from_environment({"FAILSHUT_OUTCOMES_STORE": address})),
        *tried(lambda: from_environment({"FAILSHUT_DEADLINE_MS": address, "FAILSHUT_STORE": "x"})),
        *tried(lambda: WorkerConfig(**worker, store=address)),  # type: ignore[arg-type]
        *tried(lambda: WorkerConfig(**worker, store="redis://a", outcomes_store=address)),  # type: ignore[arg-type]
        *tried(lambda: WorkerConfig(**worker, stroe=address, store="redis://a")),  # type: ignore[call-arg, arg-type]
        *tried(lambda: Runtime(store=address, broker=address)),
    ]
    for text in said:
        assert not shows(text), text


@pytest.mark.slow
@settings(max_examples=400, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(address=addresses("broker"))
@example(address=f"kafka://mon:{MARKER[:3]}?{MARKER[3:]}@127.0.0.1:1")
def test_no_broker_address_is_quoted(address: str) -> None:
    """Not by the parser, the worker's configuration, or what is shown in its place."""
    worker = {"store": "redis://a", "signing_key": "k", "operators": "o"}
    said = [
        *tried(lambda: Broker.parse(address)),
        *tried(lambda: Broker.parse(address).name),
        *tried(lambda: Broker.parse(address).faust_url()),
        *tried(lambda: Broker.parse(address).faust_credentials()),
        *tried(lambda: WorkerConfig(**worker, broker=address)),  # type: ignore[arg-type]
        *tried(lambda: shown(address)),
    ]
    try:
        client_options(address)
    except ValueError as error:
        said += told(error)
    for text in said:
        assert not shows(text), text


@pytest.mark.slow
@settings(max_examples=12, deadline=None, suppress_health_check=list(HealthCheck), phases=[Phase.explicit, Phase.generate])
@given(address=addresses("store"), broker=addresses("broker"))
@example(address=f"redis://mon:{MARKER}@127.0.0.1:1/0", broker=f"kafka://mon:{MARKER}@127.0.0.1:1")
def test_the_command_line_quotes_neither(address: str, broker: str, tmp_path_factory: pytest.TempPathFactory) -> None:
    """As an option, from the environment, as a stray argument, behind a mistyped option, and in --help."""
    folder = tmp_path_factory.getbasetemp()
    for arguments, variables in (
        (["gates", "--store", address], {}),
        (["gates"], {"FAILSHUT_STORE": address}),
        (["watch", "--stroe", address], {}),
        (["watch", address], {}),
        (["gates", address, "--store", "redis://127.0.0.1:1"], {}),
        (["run", "--store", address, "--broker", "kafka://127.0.0.1:x"], {}),
        (["run", "--store", "redis://a", "--outcomes-store", address, "--broker", "kafka://127.0.0.1:x"], {}),
        (["run", "--help"], {"FAILSHUT_STORE": address, "FAILSHUT_BROKER": broker, "FAILSHUT_STORE_PASSWORD": MARKER}),
        (["run"], {"FAILSHUT_STORE": "redis://127.0.0.1:1", "FAILSHUT_BROKER": f"x{broker}"}),
        (["run"], {"FAILSHUT_STORE": broker, "FAILSHUT_BROKER": address}),
        (["gates"], {"FAILSHUT_STORE": "redis://mon@127.0.0.1:1/x", "FAILSHUT_STORE_PASSWORD": address}),
    ):
        said = command(arguments, variables, folder)
        assert not shows(said), (arguments[0], said)


def command(arguments: list[str], variables: dict[str, str], folder: Path) -> str:
    """What a command says on both outputs, and to a log."""
    if any("\0" in text for text in (*arguments, *variables.values())):
        return ""  # no system hands such an argument on
    out, log = io.StringIO(), io.StringIO()
    handler = logging.StreamHandler(log)
    logging.getLogger().addHandler(handler)
    before, argv, here = dict(os.environ), sys.argv, Path.cwd()
    for name in [name for name in os.environ if name.startswith("FAILSHUT_")]:
        del os.environ[name]
    try:
        os.environ.update(variables)
        os.chdir(folder)
        sys.argv = ["failshut", *arguments]
        with contextlib.redirect_stdout(out), contextlib.redirect_stderr(out):
            try:
                main()
            except SystemExit:
                pass
            except Exception:
                sys.excepthook(*sys.exc_info())
                raise
    finally:
        sys.argv = argv
        os.chdir(here)
        os.environ.clear()
        os.environ.update(before)
        logging.getLogger().removeHandler(handler)
    return out.getvalue() + log.getvalue()


@pytest.mark.parametrize(
    "address",
    [
        f"redis://mon:{MARKER}@127.0.0.1:1/0",
        f"redis://mon:{MARKER[:3]}/{MARKER[3:]}@127.0.0.1:1/0",
        f"redis://mon:{MARKER[:3]}#{MARKER[3:]}@127.0.0.1:1/0",
        f"redis://{MARKER}@127.0.0.1:1/0",
        f"rediss://mon:{MARKER}@127.0.0.1:1/0?ca=/nowhere",
        f"redis+sentinel://mon:{MARKER}@127.0.0.1:1/s?sentinel_password={MARKER}",
        f"mon:{MARKER}@127.0.0.1:1",
    ],
)
def test_a_guard_withholds_without_quoting(address: str) -> None:
    """Every check withholds, says why, and neither the denial nor what hangs on it shows the password."""
    jwks = SigningKey.generate().key_set().of("installationoftests").to_dict()
    guard = Guard(Configuration(store_url=address, outcomes_store_url=address, jwks=jwks, deadline_ms=2_000))
    try:
        with pytest.raises(Withheld) as denial:
            Gate("a.b", guard=guard).check("agent:1")
        assert denial.value.because
        for text in (*told(denial.value), repr(guard.configuration), guard.last_fault):
            assert not shows(text), text
    finally:
        guard.close()


def test_a_store_that_refuses_the_login_does_not_show_it(store: Any) -> None:
    """Nor do the server's words, the driver's, or a log of either at DEBUG."""
    address = f"redis://mon:{MARKER}@127.0.0.1:{store.port}/0"
    said = tried(lambda: connect(address, 5.0).ping())
    assert "Wrong" in str(said) or "invalid" in str(said)
    for text in said:
        assert not shows(text), text


def test_invalid_json_for_a_worker_is_not_quoted() -> None:
    """The worker's configuration as JSON, torn or with an unknown field."""
    for text in (f'{{"store": "redis://:{MARKER}@h"', f'{{"stroe": "redis://:{MARKER}@h"}}', f'{{"store": ["{MARKER}"]}}'):
        with pytest.raises(ValidationError) as refused:
            WorkerConfig.model_validate_json(text)
        assert not shows("".join(traceback.format_exception(refused.value)))


@pytest.mark.parametrize("name", ["store", "broker"])
def test_a_setting_is_said_once(name: str) -> None:
    """A password in the address and beside it, and a file beside a password, are refused by name."""
    prefix = f"FAILSHUT_{name.upper()}"
    beside = settings_from({f"{prefix}_PASSWORD": MARKER}, prefix)
    whole = with_settings({"store": "redis://u:x@h:1", "broker": "kafka://u:x@h:1"}[name], beside)
    with pytest.raises(AddressError, match="password is set twice"):
        StoreAddress.parse(whole) if name == "store" else Broker.parse(whole)
    with pytest.raises(AddressError, match=f"{prefix}_PASSWORD_FILE"):
        settings_from({f"{prefix}_PASSWORD": MARKER, f"{prefix}_PASSWORD_FILE": "/x"}, prefix)


def test_a_password_is_read_from_a_file(tmp_path: Path) -> None:
    """Its line end is not part of it; a file that is missing, empty or no text is named by its variable."""
    file = tmp_path / "password"
    file.write_text(f"{MARKER}\n")
    assert settings_from({"FAILSHUT_STORE_PASSWORD_FILE": str(file)}, "FAILSHUT_STORE") == {"password": MARKER}
    for content in (None, b"", b"\xff\xfe"):
        file.unlink(missing_ok=True)
        if content is not None:
            file.write_bytes(content)
        with pytest.raises(AddressError, match="FAILSHUT_STORE_PASSWORD_FILE"):
            settings_from({"FAILSHUT_STORE_PASSWORD_FILE": str(file)}, "FAILSHUT_STORE")


def test_the_store_of_outcomes_has_a_login_of_its_own() -> None:
    """What stands beside its address in the environment is added to it, and nothing that stands beside the other's."""
    stores = {"FAILSHUT_STORE": "redis://a", "FAILSHUT_OUTCOMES_STORE": "redis://b"}
    logins = {"FAILSHUT_STORE_PASSWORD": "first", "FAILSHUT_OUTCOMES_STORE_PASSWORD": "second"}
    found = from_environment(stores | logins)
    assert StoreAddress.parse(found.store_url).settings == {"password": "first"}
    assert StoreAddress.parse(found.outcomes_store_url).settings == {"password": "second"}


@given(address=addresses("store"), before=st.text(alphabet="ab \n", max_size=5))
def test_what_has_a_scheme_and_a_login_is_redacted(address: str, before: str) -> None:
    """In a text of somebody else's, what follows :// on a line that may hold a login is not shown."""
    rest = address.partition("://")[2]
    if "\n" not in address and ("@" in rest or "?" in rest):
        line = f"{before}{address} refused"
        assert redact(line).endswith("://***")


def test_an_address_in_another_variable_is_not_quoted() -> None:
    """Who mixes up variables is told so without the address."""
    for variable in ("FAILSHUT_CONTEXT", "FAILSHUT_DEADLINE_MS"):
        for text in tried(lambda variable=variable: from_environment({variable: f"redis://mon:{MARKER}@h"})):  # type: ignore[misc]
            assert not shows(text), text


PEM = SigningKey.generate().to_pem().decode().strip()
BODY = PEM.splitlines()[1]
KEY_PARTS = tuple(BODY[at : at + 8] for at in range(22, len(BODY) - 8, 8))
"""Of the key itself: what stands before is the same in every one."""


@pytest.mark.slow
@pytest.mark.parametrize("key", [PEM, BODY, PEM.replace("\n", "\\n"), PEM[:70]], ids=["pem", "body", "one-line", "cut-off"])
def test_a_private_key_in_place_of_its_path_is_not_quoted(key: str, tmp_path: Path) -> None:
    """Not by a command, a worker's configuration, or a guard: as an option, or in the variable that names the file."""
    addresses = {"FAILSHUT_STORE": "redis://127.0.0.1:1", "FAILSHUT_BROKER": "kafka://127.0.0.1:1"}
    said = [
        command(["run"], {**addresses, "FAILSHUT_SIGNING_KEY": key}, tmp_path),
        command(["run", "--operators", key], addresses, tmp_path),
        command(["lock", "g", "--why", "x"], {**addresses, "FAILSHUT_OPERATOR_KEY": key}, tmp_path),
        command(["lock", "g", "--why", "x", "--key", key], addresses, tmp_path),
        command(["gates"], {**addresses, "FAILSHUT_JWKS": key}, tmp_path),
        command(["gates", "--kye", key], addresses, tmp_path),
        command(["gates"], {**addresses, "FAILSHUT_STATE": key, "FAILSHUT_INSTALLATION": key}, tmp_path),
        *tried(lambda: SigningKey.load(key)),
        *tried(lambda: KeySet.load(key)),
        *tried(lambda: WorkerConfig(broker="kafka://a:1", store="redis://a", signing_key=Path(key), operators=Path(key))),
        *tried(lambda: OperatorsFile(Path(key)).look()),
    ]
    guard = Guard(Configuration(store_url="redis://127.0.0.1:1", jwks=key, deadline_ms=2_000))
    try:
        said += tried(lambda: Gate("a.b", guard=guard).check("agent:1"))
    finally:
        guard.close()
    assert any("private key stands where" in text for text in said) or key == PEM[:70]
    for text in said:
        assert not any(part in text for part in KEY_PARTS), text


def test_a_repair_that_reaches_no_broker_does_not_quote_it(store: Any, tmp_path: Path) -> None:
    """Not even an address without a scheme, which is taken too: as an option, or in the environment."""
    State(tmp_path / ".failshut").ensure_keys()
    names = Names("installationoftests")
    line = Report("w", "g", 1, 1, {}, "", [], [], [], [], True)
    redis.Redis.from_url(store.url).set(names.worker("w"), msgspec.json.encode(line), px=600_000)
    address = f"mon:{MARKER}@127.0.0.1:1"
    order = ["gap", "accept", "telemetry", "0", "--why", "x", "--upto", "5", "--store", store.url]
    order += ["--installation", names.installation]
    for arguments, variables in (([*order, "--broker", address], {}), (order, {"FAILSHUT_BROKER": address})):
        said = command(arguments, variables, tmp_path)
        assert "does not answer" in said
        assert not shows(said), said


def test_what_nobody_foresaw_does_not_quote_an_address_without_a_scheme(monkeypatch: pytest.MonkeyPatch, capsys: Any) -> None:
    """Python's own words for an error may hold what was given to the command."""
    address = f"mon:{MARKER}@127.0.0.1:1"
    monkeypatch.setattr(sys, "argv", ["failshut", "run", f"--broker={address}"])
    show_unexpected(RuntimeError, RuntimeError(f"no {address}"), None)
    said = capsys.readouterr().err
    assert "RuntimeError: no ***" in said
    assert not shows(said)
