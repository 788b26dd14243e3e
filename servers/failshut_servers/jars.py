"""The broker's jars: by name, through jgo, checked against pinned hashes, into a cache.

jgo is asked for each jar by itself and never for dependencies: what it would resolve is not what the broker
was built with. `kafka.jars` is the whole class path. Every start hashes every jar (45 MB, a tenth of a
second), so a cache that somebody else can write to is no way in.
"""

from __future__ import annotations

import hashlib
import os
import shutil
import tempfile
import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor, as_completed, wait
from dataclasses import dataclass
from importlib import resources
from pathlib import Path

from failshut_servers.errors import EmbeddedUnavailable

#: The version of Apache Kafka that `kafka.jars` holds.
KAFKA_VERSION = "4.3.1"

#: Called as (jars at hand, jars in all, what just happened), from any thread, one call at a time.
Progress = Callable[[int, int, str], None]

_THREADS = 8
_ATTEMPTS = 3
_TIMEOUT_SECONDS = 30


@dataclass(frozen=True, slots=True)
class Jar:
    """One pinned file of the class path."""

    group: str
    artifact: str
    version: str
    sha256: str

    @property
    def file_name(self) -> str:
        """Its name in the cache, with the group: two groups may use one artifact name."""
        return f"{self.group}.{self.artifact}-{self.version}.jar"


def pinned_jars() -> tuple[Jar, ...]:
    """Return the jars of the shipped list, in its order."""
    text = resources.files(__package__).joinpath("kafka.jars").read_text(encoding="utf-8")
    lines = [line.split() for line in text.splitlines() if line and not line.startswith("#")]
    return tuple(_jar(name, digest) for name, digest in lines)


def _jar(name: str, digest: str) -> Jar:
    group, artifact, version = name.split(":")
    return Jar(group, artifact, version, digest.removeprefix("sha256:"))


def cache_folder() -> Path:
    """Return where downloads are kept: FAILSHUT_CACHE, else XDG_CACHE_HOME/failshut, else ~/.cache/failshut."""
    own = os.environ.get("FAILSHUT_CACHE")
    if own:
        return Path(own)
    return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "failshut"


def kafka_jars(cache: Path | None = None, on_progress: Progress | None = None) -> list[Path]:
    """Return the broker's class path, downloading what is missing or does not have its pinned hash.

    Args:
        cache: a folder; `cache_folder()` by default.
        on_progress: told of each jar that is downloaded.

    Raises:
        EmbeddedUnavailable: a jar cannot be downloaded, or is not the pinned one.
    """
    folder = (cache or cache_folder()) / f"kafka-{KAFKA_VERSION}"
    jars = pinned_jars()
    try:
        folder.mkdir(parents=True, exist_ok=True)
        with ThreadPoolExecutor(_THREADS, "failshut-jars") as pool:
            intact = list(pool.map(lambda jar: _is_pinned(folder / jar.file_name, jar), jars))
            missing = [jar for jar, is_there in zip(jars, intact, strict=True) if not is_there]
            if missing:
                _fetch_all(missing, folder, pool, len(jars), on_progress)
    except OSError as error:
        raise EmbeddedUnavailable(
            f"the cache {folder} cannot be used: {error}",
            "set FAILSHUT_CACHE to a folder that you may write to",
        ) from error
    return [folder / jar.file_name for jar in jars]


def _fetch_all(missing: list[Jar], folder: Path, pool: ThreadPoolExecutor, total: int, on_progress: Progress | None) -> None:
    done = total - len(missing)
    staging = Path(tempfile.mkdtemp(prefix=".partial-", dir=folder))
    give_up = threading.Event()
    try:
        fetches = {pool.submit(_fetch, jar, staging, folder, give_up): jar for jar in missing}
        for fetch in as_completed(fetches):
            try:
                fetch.result()
            except BaseException:
                give_up.set()
                for other in fetches:
                    other.cancel()
                wait(fetches)  # none may still write where we clear up
                raise
            done += 1
            if on_progress is not None:
                on_progress(done, total, fetches[fetch].artifact)
    finally:
        shutil.rmtree(staging, ignore_errors=True)


def _fetch(jar: Jar, staging: Path, folder: Path, give_up: threading.Event) -> None:
    """Download one jar, check it, and move it to its place in one step."""
    try:
        from jgo.maven import MavenContext
    except ImportError as error:
        raise EmbeddedUnavailable(
            "the package jgo, which downloads Apache Kafka, is not installed",
            "pip install 'failshut[embedded]'",
        ) from error
    failure = "not tried"
    for attempt in range(_ATTEMPTS):
        if give_up.is_set():
            return
        # A place of its own: what a failed attempt leaves behind is never looked at again.
        place = staging / f"{jar.artifact}-{attempt}"
        context = MavenContext(repo_cache=place, timeout=_TIMEOUT_SECONDS)
        try:
            file = context.project(jar.group, jar.artifact).at_version(jar.version).artifact().resolve()
        except Exception as error:  # noqa: BLE001  (jgo raises what its HTTP client raises; the last one is told)
            failure = f"{type(error).__name__}: {error}"
            continue
        if _is_pinned(file, jar):
            os.replace(file, folder / jar.file_name)
            return
        failure = f"its SHA-256 is {_sha256(file)}, not {jar.sha256}"
    raise EmbeddedUnavailable(
        f"{jar.group}:{jar.artifact}:{jar.version} could not be downloaded in {_ATTEMPTS} attempts: {failure}",
        "check the network and proxy settings and try again; what is downloaded is kept. "
        "Or name a broker that runs already: failshut run --broker kafka://HOST:PORT",
    )


def _is_pinned(file: Path, jar: Jar) -> bool:
    return file.is_file() and _sha256(file) == jar.sha256


def _sha256(file: Path) -> str:
    with file.open("rb") as stream:
        return hashlib.file_digest(stream, "sha256").hexdigest()
