"""The beginning and the end of a worker: where it logs to, and what SIGTERM means before and after it works.

SIGTERM ends a worker with status 0 at any time. Until it takes part in a group it holds nothing, so there is nothing to hand
over. From then on the transport stops in order. Once it has stopped, another SIGTERM changes nothing.
"""

from __future__ import annotations

import logging
import os
import signal
import sys
from types import FrameType
from typing import Final, TextIO

from failshut_streams.logs.folding import Folding
from failshut_streams.logs.lines import JsonLines, TextLines

FORMATS: Final = {"text": TextLines, "json": JsonLines}

logger = logging.getLogger("failshut_streams.worker")


def log_to(stream: TextIO | None = None, form: str = "text", level: str | int = "INFO") -> Folding:
    """Have every logger of this process write to `stream` (standard error), folded, in the given form; return the handler.

    Raises:
        ValueError: there is no such form or level.
    """
    if form not in FORMATS:
        raise ValueError(f"log format {form!r} is none of {', '.join(FORMATS)}")
    handler = Folding(stream)
    handler.setFormatter(FORMATS[form]())
    root = logging.getLogger()
    root.setLevel(level.upper() if isinstance(level, str) else level)
    for former in list(root.handlers):
        root.removeHandler(former)
        former.close()
    root.addHandler(handler)
    return handler


def begin(form: str = "text", level: str | int = "INFO") -> None:
    """Have this process log, and let SIGTERM end it in order until the worker itself listens to it.

    Raises:
        ValueError: there is no such form or level.
    """
    log_to(form=form, level=level)
    signal.signal(signal.SIGTERM, _end_before_it_began)


def end() -> None:
    """Let a SIGTERM that comes after the worker's end change nothing."""
    signal.signal(signal.SIGTERM, signal.SIG_IGN)


def _end_before_it_began(number: int, frame: FrameType | None) -> None:
    # Not an exception: it would come up in the middle of an import, or of a library that takes it for its own.
    logger.info("told to stop before it took part in anything: the worker ends")
    logging.shutdown()
    sys.stderr.flush()
    os._exit(0)
