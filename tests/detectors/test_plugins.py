"""Plug-ins: a detector that another package brings is found, tried and used like ours, or refused with the reason."""

from __future__ import annotations

import shutil
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from patience import patient

from failshut_breakers.policy.policy import parse_policy
from failshut_detectors import registry
from failshut_detectors.suite import check

EXAMPLE = Path(__file__).resolve().parents[2] / "examples" / "detector_plugin"
POLICY = "gate: a.b\npermit: {ttl: 3s}\nconditions:\n  - anomaly: {series: s/x, detector: jump, far: 30}\n"

CLASS = """
from failshut_detectors import Detector, Kind

class Mine(Detector):
    name = "mine"
    kind = Kind.DRIFT
    ready = True
    def summary(self): return "fine"
    def _feed(self, values, times_ms): return []
"""

Declare = Callable[..., None]


def forget() -> None:
    registry._plugins.cache_clear()
    registry._load.cache_clear()


@pytest.fixture(scope="module")
def installed(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with the example, as pip installs it."""
    source, target = tmp_path_factory.mktemp("plugin") / "source", tmp_path_factory.mktemp("site")
    shutil.copytree(EXAMPLE, source, ignore=shutil.ignore_patterns("__pycache__"))
    pip = [sys.executable, "-m", "pip", "--disable-pip-version-check", "install", "--quiet", "--no-index", "--no-deps"]
    subprocess.run([*pip, "--no-build-isolation", "--target", str(target), str(source)], check=True, timeout=patient(120))
    return target


@pytest.fixture
def jump(installed: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """The example, installed."""
    monkeypatch.syspath_prepend(str(installed))
    forget()
    yield
    sys.modules.pop("jump_detector", None)
    monkeypatch.undo()
    forget()


@pytest.fixture
def declare(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Declare]:
    """Put a package on the path that declares detectors: its name, its code, and its entry points."""
    monkeypatch.syspath_prepend(str(tmp_path))
    modules: list[str] = []

    def write(package: str, code: str, **points: str) -> None:
        (tmp_path / f"{package}.py").write_text(code)
        folder = tmp_path / f"{package}-1.2.dist-info"
        folder.mkdir()
        (folder / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {package}\nVersion: 1.2\n")
        lines = [f"{name} = {package}:{value}" for name, value in points.items()]
        (folder / "entry_points.txt").write_text("\n".join([f"[{registry.GROUP}]", *lines]))
        modules.append(package)
        forget()

    yield write
    for module in modules:
        sys.modules.pop(module, None)
    monkeypatch.undo()
    forget()


@pytest.mark.slow
@pytest.mark.usefixtures("jump")
def test_an_installed_package_brings_a_detector() -> None:
    """It has a name behind ours, parameters with their defaults, and a version that decisions may depend on."""
    assert registry.names() == [*sorted(registry.OURS), "jump"]
    assert {name: found.default for name, found in registry.parameters(registry.find("jump")).items()} == {
        "window": 100,
        "far": 20.0,
    }
    assert registry.plugin_versions() == {"jump-detector": "1.0"}
    assert registry.refused() == {}


@pytest.mark.slow
@pytest.mark.usefixtures("jump")
def test_a_policy_builds_it_with_its_own_parameters() -> None:
    """By name under the condition of its kind; what it refuses is a fault of the policy."""
    (condition,) = parse_policy(POLICY).conditions
    detector = condition.build_detector()  # type: ignore[union-attr]
    assert (detector.name, detector._far) == ("jump", 30.0)  # type: ignore[union-attr]
    for wrong in ("far: 0", "far: yes", "near: 3", "window: 2.5"):
        with pytest.raises(ValueError, match=wrong.split(":")[0]):
            parse_policy(POLICY.replace("far: 30", wrong))
    with pytest.raises(ValueError, match="jump stands under anomaly"):
        parse_policy(POLICY.replace("anomaly:", "drift:"))


@pytest.mark.slow
@pytest.mark.usefixtures("jump")
def test_it_runs_through_the_suite() -> None:
    """The example keeps the contract, as a user's detector should."""
    assert check(lambda: registry.build("jump", {}), budget=30_000) == []


def test_without_plug_ins_there_are_ours() -> None:
    """And a policy that names another is told what there is."""
    forget()
    assert registry.names() == sorted(registry.OURS)
    with pytest.raises(registry.DetectorError, match=r"no detector is named 'jump': there are adwin, "):
        registry.find("jump")


BAD: dict[str, tuple[str, str, str]] = {
    "no module": ("import nothing_of_this_name", "Mine", "cannot be loaded: ModuleNotFoundError"),
    "an error": ("1 / 0", "Mine", "cannot be loaded: ZeroDivisionError"),
    "no such class": (CLASS, "Yours", "cannot be loaded: AttributeError"),
    "another name": (CLASS.replace('"mine"', '"yours"'), "Mine", "calls itself 'yours'"),
    "no class": ("Mine = 5", "Mine", "no subclass of Detector, EventDetector or VectorDetector"),
    "no subclass": ("class Mine:\n    name = 'mine'", "Mine", "no subclass of Detector, EventDetector or VectorDetector"),
    "half a class": (CLASS.replace("def summary", "def summery"), "Mine", "does not write summary"),
    "no default": (CLASS + "    def __init__(self, size: int): ...", "Mine", "parameter 'size' needs a default"),
    "another type": (CLASS + "    def __init__(self, sizes: list = []): ...", "Mine", "parameter 'sizes' needs a default"),
    "no such type": (CLASS + "    def __init__(self, size: 'Size' = 1): ...", "Mine", "of a type that is not there"),
}


@pytest.mark.parametrize("fault", BAD)
def test_a_plug_in_that_cannot_be_used_is_refused_with_words(declare: Declare, fault: str) -> None:
    """It takes nobody else's detector away, and the reason stands in the list of what was refused."""
    code, cls, words = BAD[fault]
    declare("bad_plugin", code, mine=cls)
    with pytest.raises(registry.DetectorError, match=words):
        registry.build("mine", {})
    assert words in registry.refused()["mine"]
    assert registry.find("adwin") is registry.OURS["adwin"]


def test_what_a_good_one_needs(declare: Declare) -> None:
    """The code that the faults above are made from is without fault."""
    declare("good_plugin", CLASS, mine="Mine")
    assert registry.build("mine", {}).summary() == "fine"
    assert registry.refused() == {}


def test_a_name_of_ours_stays_ours(declare: Declare) -> None:
    """A package cannot put its own detector in the place of one that policies know; it is told so."""
    declare("taker", CLASS.replace('"mine"', '"adwin"'), adwin="Mine")
    assert registry.find("adwin") is registry.OURS["adwin"]
    assert registry.names() == sorted(registry.OURS)
    assert "has the name of one of ours" in registry.refused()["adwin"]


def test_two_packages_with_one_name_are_both_refused(declare: Declare) -> None:
    """Which of them was meant depends on the order of a path, and so must not be guessed."""
    declare("first_plugin", CLASS, mine="Mine")
    declare("second_plugin", CLASS, mine="Mine")
    with pytest.raises(registry.DetectorError, match="several plug-ins are named 'mine': first_plugin:Mine, second_"):
        registry.find("mine")
    assert registry.plugin_versions() == {"first_plugin": "1.2", "second_plugin": "1.2"}
