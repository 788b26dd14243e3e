"""What docker/ says, checked without Docker: the compose schema, the locks, and Kafka's rules on a real broker."""

from __future__ import annotations

import importlib.util
import json
import os
import re
import shutil
import stat
import subprocess
import tomllib
from importlib.metadata import distribution
from pathlib import Path
from types import ModuleType
from typing import Any

import jsonschema
import pytest
import yaml

from failshut.signing import KeySet

DOCKER = Path(__file__).resolve().parents[2] / "docker"


@pytest.fixture(scope="module")
def compose() -> dict[str, Any]:
    """The compose file, read as compose reads it."""
    document: dict[str, Any] = yaml.safe_load((DOCKER / "compose.yaml").read_text())
    return document


@pytest.fixture(scope="module")
def setup() -> ModuleType:
    """docker/setup.py as a module."""
    spec = importlib.util.spec_from_file_location("docker_setup", DOCKER / "setup.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_the_compose_file_fits_the_schema(compose: dict[str, Any]) -> None:
    """Compose's own JSON schema (from the package check-jsonschema) accepts the file, and would not accept a slip."""
    path = distribution("check-jsonschema").locate_file("check_jsonschema/builtin_schemas/vendor/compose-spec.json")
    schema = json.loads(Path(str(path)).read_text())
    validator = jsonschema.Draft7Validator(schema)
    assert [error.message for error in validator.iter_errors(compose)] == []
    slip = {**compose, "services": {"worker": {"image": "failshut", "enviroment": {}}}}
    assert list(validator.iter_errors(slip))


def test_docker_compose_reads_it(tmp_path: Path, setup: ModuleType) -> None:
    """`docker compose config` accepts the file with the variables that setup.py writes."""
    if shutil.which("docker") is None or subprocess.run(["docker", "compose", "version"], capture_output=True).returncode:
        pytest.skip("the docker client's compose plugin is not installed here; the schema test stands alone")
    setup.write_environment(tmp_path / ".env", 10001, "i" * 32)
    command = ["docker", "compose", "--env-file", str(tmp_path / ".env"), "-f", str(DOCKER / "compose.yaml"), "config", "-q"]
    done = subprocess.run(command, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr


def test_every_mounted_file_is_there(compose: dict[str, Any]) -> None:
    """A path that compose would silently create as an empty folder exists, or is made by setup.py."""
    mounts = [mount.split(":")[0] for service in compose["services"].values() for mount in service.get("volumes", [])]
    local = [mount for mount in mounts if mount.startswith(".")]
    assert local
    assert [mount for mount in local if not (DOCKER / mount).exists() and not mount.startswith("./keys/")] == []


def test_every_variable_is_made_by_setup(tmp_path: Path, setup: ModuleType) -> None:
    """No password has a default: compose refuses to start without what setup.py makes."""
    setup.write_environment(tmp_path / ".env", 10001, "i" * 32)
    made = {line.split("=")[0] for line in (tmp_path / ".env").read_text().splitlines()}
    text = (DOCKER / "compose.yaml").read_text()
    used = set(re.findall(r"\$\{(\w+)", text))
    assert used - {"USER"} == made
    for variable in used - {"FAILSHUT_UID", "USER"}:
        assert f"${{{variable}:-" not in text
        assert f"${{{variable}:?" in text


def test_setup_keeps_what_exists(tmp_path: Path, setup: ModuleType) -> None:
    """A second run makes no new password and no new key; secrets are for their owner alone."""
    setup.main(tmp_path)
    before = {path: path.read_bytes() for path in tmp_path.rglob("*") if path.is_file()}
    setup.main(tmp_path)
    assert {path: path.read_bytes() for path in tmp_path.rglob("*") if path.is_file()} == before
    private = [path for path, content in before.items() if b"PRIVATE" in content]
    assert sorted(path.name for path in private) == ["monitor.pem", "operator.pem"]
    services = sorted((tmp_path / "keys" / "services").glob("*.env"))
    assert services
    for secret in (tmp_path / ".env", *private, *services):
        assert stat.S_IMODE(secret.stat().st_mode) == 0o600


def test_no_worker_holds_an_operators_key(tmp_path: Path, setup: ModuleType, compose: dict[str, Any]) -> None:
    """What workers mount has the operators' public keys alone: a worker cannot command itself."""
    setup.main(tmp_path)
    assert compose["services"]["worker"]["volumes"] == ["./keys/worker:/keys:ro"]
    assert sorted(path.name for path in (tmp_path / "keys" / "worker").iterdir()) == [
        "monitor.jwks.json",
        "monitor.pem",
        "operators.jwks.json",
    ]


def test_every_password_stands_as_a_digest_where_the_stores_read_it(tmp_path: Path, setup: ModuleType) -> None:
    """The users' files are readable by the stores' own user; nobody learns a password from them."""
    setup.main(tmp_path)
    made = [line.split("=")[1] for line in (tmp_path / ".env").read_text().splitlines() if "PASSWORD" in line]
    made += [re.findall(r"redis://[^:]+:([^@]+)@", path.read_text())[0] for path in (tmp_path / "keys" / "services").iterdir()]
    text = "".join(path.read_text() for path in (tmp_path / "keys" / "stores").iterdir())
    assert text.count("user ") > len(made)
    assert not [password for password in made if password in text]


def test_the_installation_is_one_everywhere(tmp_path: Path, setup: ModuleType) -> None:
    """Guards' key set, services' environment and the stores' users name what the first term is opened with."""
    setup.main(tmp_path)
    installation = (tmp_path / "keys" / "installation").read_text().strip()
    assert KeySet.load(tmp_path / "keys" / "worker" / "monitor.jwks.json").installation == installation
    for path in (*(tmp_path / "keys" / "services").iterdir(), *(tmp_path / "keys" / "stores").iterdir()):
        assert installation in path.read_text()


def test_metrics_are_published_nowhere(compose: dict[str, Any]) -> None:
    """Workers serve them to the network of the containers, and no port of theirs is published."""
    assert compose["services"]["worker"]["environment"]["FAILSHUT_METRICS_ADDRESS"] == "0.0.0.0"
    assert "ports" not in compose["services"]["worker"]


def test_secrets_stay_out_of_git() -> None:
    """The files that setup.py makes are ignored."""
    if not (DOCKER.parent / ".git").exists() or shutil.which("git") is None:
        pytest.skip("not a git checkout")
    for path in ("docker/.env", "docker/keys/operator.pem", "docker/keys/worker/monitor.pem"):
        assert subprocess.run(["git", "check-ignore", "-q", path], cwd=DOCKER.parent).returncode == 0, path


def test_no_service_runs_as_root_with_rights(compose: dict[str, Any]) -> None:
    """What is ours runs as nobody in particular, without capabilities, on a file system that it cannot write."""
    for name in ("worker", "redis", "outcomes"):
        service = compose["services"][name]
        assert service["user"].split(":")[0] not in {"", "0", "root"}
        assert service["cap_drop"] == ["ALL"]
        assert service["read_only"] is True
    assert re.search(r"^USER 10001", (DOCKER / "Dockerfile").read_text(), re.MULTILINE)


def test_the_image_is_built_of_every_package() -> None:
    """The wheel names each folder; a build without one of them ends in an error, or in an image that lacks it."""
    copied = re.findall(r"^COPY (\w+) \1$", (DOCKER / "Dockerfile").read_text(), re.MULTILINE)
    project = tomllib.loads((DOCKER.parent / "pyproject.toml").read_text())
    packages = project["tool"]["hatch"]["build"]["targets"]["wheel"]["packages"]
    assert sorted(copied) == sorted(package.split("/")[0] for package in packages)


def test_the_image_installs_from_hashes_alone() -> None:
    """Every pip install in the image checks hashes or takes what was built there."""
    commands = re.findall(r"pip install ([^\n\\&]*)", (DOCKER / "Dockerfile").read_text())
    assert commands
    assert all("--require-hashes" in command or "--no-index" in command for command in commands)
    for lock in ("worker", "build"):
        text = (DOCKER.parent / "requirements" / f"{lock}.lock").read_text()
        pinned = re.findall(r"^[a-z0-9._-]+==.*", text, re.MULTILINE)
        assert pinned
        assert all(line.endswith("\\") for line in pinned), "a pin without a hash"


@pytest.mark.skipif(os.geteuid() != 0, reason="chown is for root alone")
def test_the_workers_user_can_read_the_key(tmp_path: Path, setup: ModuleType) -> None:
    """Made by root, the key belongs to the image's user."""
    setup.main(tmp_path)
    assert (tmp_path / "keys" / "worker" / "monitor.pem").stat().st_uid == setup.IMAGE_UID
