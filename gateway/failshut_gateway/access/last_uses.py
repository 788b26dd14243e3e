"""When each access key was used last, in a file beside the keys, for `failshut access list`.

Several gateways write it, and each keeps what the others wrote if it is later. Two that write in one moment may each miss
what the other wrote; both write again soon. Times are whole minutes apart at best: this is for finding keys that nobody uses.

Limits: it decides nothing. A gateway that cannot write it goes on, and counts that. At most `KEYS_MAX` ids are kept.
"""

from __future__ import annotations

import json
import os
import re
from pathlib import Path
from typing import Final

from failshut.whole_file import write_whole
from failshut_gateway.access.access_file import KEYS_MAX
from failshut_gateway.access.grant import TIME_MS_MAX
from failshut_gateway.access.key_text import ID_CHARS

WRITE_EVERY_SECONDS: Final = 10.0
_FILE_BYTES_MAX: Final = 1024 * 1024


def uses_path(access_path: str | os.PathLike[str]) -> Path:
    """Return where last uses are kept for a file of keys."""
    path = Path(access_path)
    return path.with_name(f"{path.name}.uses")


class LastUses:
    """What one gateway saw. `note` is called in the event loop, `write` in a thread."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._seen: dict[str, int] = {}
        self._written: dict[str, int] = {}
        self.failures = 0
        """How often the file could not be written."""

    def note(self, key_id: str, now_ms: int) -> None:
        """Remember that a key was used. Ids are those of keys that count, so that strangers add none."""
        self._seen[key_id] = now_ms

    def write(self) -> None:
        """Write the file if there is news. Never raises."""
        seen = dict(self._seen)
        if seen == self._written:
            return
        try:
            merged = read_uses(self._path)
            for key_id, used_ms in seen.items():
                merged[key_id] = max(used_ms, merged.get(key_id, 0))
            newest = sorted(merged.items(), key=lambda item: item[1], reverse=True)[:KEYS_MAX]
            write_whole(self._path, json.dumps(dict(newest)).encode() + b"\n", 0o600)
            self._written = seen
        except Exception:  # noqa: BLE001 - last uses decide nothing
            self.failures += 1


def read_uses(path: Path) -> dict[str, int]:
    """Return when each key was used last, in ms since 1970. What cannot be read is left out."""
    try:
        with path.open("rb") as file:
            document = json.loads(file.read(_FILE_BYTES_MAX))
    except (OSError, ValueError, RecursionError):
        return {}
    if not isinstance(document, dict):
        return {}
    form = re.compile(rf"[0-9A-Za-z]{{{ID_CHARS}}}")
    return {
        key_id: used_ms
        for key_id, used_ms in document.items()
        if form.fullmatch(key_id) and type(used_ms) is int and 0 < used_ms < TIME_MS_MAX
    }
