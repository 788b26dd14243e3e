"""What the broker's class path may hold."""

from __future__ import annotations

import threading
from pathlib import Path

import pytest

from failshut_servers import EmbeddedUnavailable, jars


def fake_registry(monkeypatch: pytest.MonkeyPatch, content: dict[str, bytes]) -> list[str]:
    """Stand in for jgo's download, offline; returns the artifacts that were asked for."""
    asked: list[str] = []
    lock = threading.Lock()

    def resolve(artifact: object) -> Path:
        name = artifact.artifactId  # type: ignore[attr-defined]
        with lock:
            asked.append(name)
        if name not in content:
            raise ConnectionError("no network")
        path = Path(artifact.cached_path)  # type: ignore[attr-defined]
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(content[name])
        return path

    monkeypatch.setattr("jgo.maven._core.Artifact.resolve", resolve)
    return asked


def pin(monkeypatch: pytest.MonkeyPatch, **content: bytes) -> None:
    """Pin small jars in place of the broker's."""
    import hashlib

    pinned = tuple(jars.Jar("org.example", name, "1.0", hashlib.sha256(data).hexdigest()) for name, data in content.items())
    monkeypatch.setattr(jars, "pinned_jars", lambda: pinned)


def test_the_shipped_list_is_the_whole_class_path() -> None:
    """46 jars, each with a SHA-256, no two with one file name."""
    pinned = jars.pinned_jars()
    assert len(pinned) == 46
    assert all(len(bytes.fromhex(jar.sha256)) == 32 for jar in pinned)
    assert len({jar.file_name for jar in pinned}) == 46
    assert {jar.version for jar in pinned if jar.group == "org.apache.kafka"} == {jars.KAFKA_VERSION}


def test_missing_jars_are_downloaded_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A second use of the cache asks nobody, and progress tells of each download."""
    pin(monkeypatch, a=b"one", b=b"two")
    asked = fake_registry(monkeypatch, {"a": b"one", "b": b"two"})
    told: list[tuple[int, int, str]] = []
    first = jars.kafka_jars(tmp_path, lambda *step: told.append(step))
    assert [path.read_bytes() for path in first] == [b"one", b"two"]
    assert sorted(asked) == ["a", "b"]
    assert [step[:2] for step in told] == [(1, 2), (2, 2)]
    assert jars.kafka_jars(tmp_path) == first
    assert len(asked) == 2


def test_a_jar_with_another_hash_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A registry that serves something else than what was pinned does not get on the class path."""
    pin(monkeypatch, a=b"one")
    asked = fake_registry(monkeypatch, {"a": b"something else"})
    with pytest.raises(EmbeddedUnavailable, match="SHA-256"):
        jars.kafka_jars(tmp_path)
    assert len(asked) == 3
    assert not list(tmp_path.rglob("*.jar"))


def test_a_changed_cache_is_downloaded_anew(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A jar that was swapped in the cache is not run."""
    pin(monkeypatch, a=b"one")
    fake_registry(monkeypatch, {"a": b"one"})
    (jar,) = jars.kafka_jars(tmp_path)
    jar.write_bytes(b"swapped")
    (jar,) = jars.kafka_jars(tmp_path)
    assert jar.read_bytes() == b"one"


def test_no_network_says_what_to_do(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The error names the jar, what happened and a way out; what was downloaded stays."""
    pin(monkeypatch, a=b"one", b=b"two")
    fake_registry(monkeypatch, {"a": b"one"})
    with pytest.raises(EmbeddedUnavailable, match=r"org\.example:b:1\.0.*no network(?s:.*)What to do: check the network"):
        jars.kafka_jars(tmp_path)
    assert not list(tmp_path.rglob(".partial-*"))


def test_an_unwritable_cache_says_what_to_do(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A cache that cannot be a folder is named, with the variable that moves it."""
    pin(monkeypatch, a=b"one")
    (tmp_path / "file").write_text("")
    with pytest.raises(EmbeddedUnavailable, match="FAILSHUT_CACHE"):
        jars.kafka_jars(tmp_path / "file")


def test_the_cache_can_be_moved(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """FAILSHUT_CACHE goes before XDG_CACHE_HOME, and that before the home folder."""
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "xdg"))
    monkeypatch.delenv("FAILSHUT_CACHE", raising=False)
    assert jars.cache_folder() == tmp_path / "xdg" / "failshut"
    monkeypatch.setenv("FAILSHUT_CACHE", str(tmp_path / "own"))
    assert jars.cache_folder() == tmp_path / "own"
