"""The ports of a state folder: what is told once stays so, and services that know an address keep it over a restart.

A port that was chosen is remembered and taken again if it is free. One that a person names is taken or refused.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Final

from failshut.whole_file import write_whole
from failshut_console.exits import Trouble
from failshut_servers.ports import free_port, is_free

NAMES: Final = ("kafka", "store", "gateway", "metrics")
BYTES_MAX: Final = 4_096


def chosen(folder: Path, **given: int) -> dict[str, int]:
    """Return the port of each name in `given`, where 0 asks for the one of last time, or for any free one; remember them.

    Raises:
        Trouble: a port that was named is in use, or is none.
    """
    before, ports = _remembered(folder), dict[str, int]()
    for name, port in given.items():
        if port and not (0 < port < 65_536 and is_free(port)):
            raise Trouble(
                f"--{name}-port: port {port} of 127.0.0.1 is in use, or is no port",
                "nothing was started",
                "stop what listens there, or name another one",
            )
        last = before.get(name, 0)
        ports[name] = port or (last if last and last not in ports.values() and is_free(last) else free_port())
    folder.mkdir(parents=True, exist_ok=True)
    write_whole(folder / "ports.json", (json.dumps(before | ports) + "\n").encode())
    return ports


def _remembered(folder: Path) -> dict[str, int]:
    """Return the ports of last time; none where the file is not there or does not say any."""
    try:
        with (folder / "ports.json").open("rb") as file:
            said = json.loads(file.read(BYTES_MAX))
    except (OSError, ValueError, RecursionError):
        return {}
    if not isinstance(said, dict):
        return {}
    return {name: said[name] for name in NAMES if type(said.get(name)) is int and 0 < said[name] < 65_536}
