"""What the commands on recordings share: errors said plainly, policies by name, labels, an assumed world."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from failshut_breakers.policy.units import parse_duration_ms
from failshut_console.exits import Exit, Trouble
from failshut_replay.errors import ReplayError
from failshut_replay.recording.reader import Recording
from failshut_replay.replay.what_if import NOTHING, Assumed
from failshut_replay.story.labels import Incident, beside, read_labels


@contextmanager
def plain_errors() -> Iterator[None]:
    """Say what is wrong with a recording, labels or a file as the command line does."""
    try:
        yield
    except ReplayError as error:
        raise Trouble(str(error), "nothing was written, and no gate is concerned", status=Exit.USAGE) from error
    except OSError as error:
        what = f"a file cannot be read or written: {error}"
        raise Trouble(what, "no existing file was changed", "look at the path, and at the rights of its folder") from error


def texts(files: list[Path] | None) -> dict[str, str]:
    """Return the policies by file name."""
    found: dict[str, str] = {}
    for file in files or []:
        try:
            found[file.name] = file.read_text(encoding="utf-8")
        except (OSError, UnicodeDecodeError) as error:
            raise Trouble(f"{file} cannot be read: {error}", "nothing was written", "name a policy file") from error
    return found


def duration_ms(text: str, option: str) -> int:
    """Return a duration that an option gave; nothing is 0."""
    try:
        return 0 if text in ("", "0", "0s") else parse_duration_ms(text)
    except ValueError as error:
        raise Trouble(f"{option}: {error}", "nothing was written", "write it as 90s, 10m or 2h") from error


def assumed_world(probes: bool, reset_after: str) -> Assumed:
    """Return what the world answers in a what-if."""
    assumed = Assumed(probes, duration_ms(reset_after, "--reset-after"))
    return NOTHING if assumed == NOTHING else assumed


def labels_of(recording: Recording, given: Path | None, needed: bool = False) -> list[Incident]:
    """Return the labels that were named, or those beside the recording; none where there are none and none are needed."""
    path = given or beside(recording.path)
    if not path.exists():
        if needed or given:
            raise Trouble(
                f"there are no labels at {path}", "nothing was scored", "write them (docs/replay.md), or name them: --labels"
            )
        return []
    return read_labels(path, recording.manifest)
