"""Downloads, shown: one line that grows on a terminal, a line for every quarter elsewhere."""

from __future__ import annotations

import sys


class DownloadProgress:
    """Told of each jar; says so to a person on standard error."""

    def __init__(self) -> None:
        self._live = sys.stderr.isatty()
        self._last_quarter = -1

    def __call__(self, done: int, total: int, what: str) -> None:
        """Count one more jar that is at hand."""
        if self._live:
            filled = "#" * (24 * done // total)
            end = "\n" if done == total else ""
            sys.stderr.write(f"\r\x1b[Kdownloading Apache Kafka [{filled:<24}] {done}/{total} {what[:30]}{end}")
        elif (quarter := 4 * done // total) != self._last_quarter:
            self._last_quarter = quarter
            sys.stderr.write(f"downloading Apache Kafka: {done} of {total} files\n")
        sys.stderr.flush()
