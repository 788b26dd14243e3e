"""The first moment of `failshut run`: a line, and an end in order, before anything is imported that takes time.

A worker imports for a second or two. Whoever starts it must see at once that it lives. A supervisor that stops it again must
not take it for one that failed. So the first line and the answer to SIGTERM need nothing but the interpreter. Everything
after that is failshut_streams.logs.beginning.

Limits: the format is found in the arguments without parsing them. One that is written in another way gets a line of text.
"""

from __future__ import annotations

import os
import signal
import sys
import time
from collections.abc import Mapping, Sequence


def is_worker(arguments: Sequence[str]) -> bool:
    """Return whether the command line asks for a worker, and not for its help."""
    return list(arguments[:1]) == ["run"] and not {"--help", "-h"}.intersection(arguments)


def begin(arguments: Sequence[str], environment: Mapping[str, str]) -> None:
    """Say the first line, and let SIGTERM end this process with status 0. Nothing is held yet that would need a hand-over."""
    signal.signal(signal.SIGTERM, lambda number, frame: os._exit(0))
    words = f"the worker starts as process {os.getpid()}"
    written = time.strftime("%Y-%m-%dT%H:%M:%S", time.gmtime()) + f".{time.time_ns() // 1_000_000 % 1000:03d}Z"
    if _format(arguments, environment) == "json":
        line = f'{{"time": "{written}", "level": "info", "logger": "failshut", "message": "{words}"}}'
    else:
        line = f"{written} INFO failshut: {words}"
    print(line, file=sys.stderr, flush=True)


def _format(arguments: Sequence[str], environment: Mapping[str, str]) -> str:
    for place, argument in enumerate(arguments):
        name, equals, value = argument.partition("=")
        if name == "--log-format":
            return value if equals else "".join(arguments[place + 1 : place + 2])
    return environment.get("FAILSHUT_LOG_FORMAT", "text")
