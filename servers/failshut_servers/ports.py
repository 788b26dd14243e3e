"""Free ports that are still free a moment later.

The kernel gives a free port (bind to 0) from the range that outgoing connections use too. Between that and the
server's own bind, a client may use the port. So ports are chosen below that range, at random, because two test
runs on one machine then seldom meet. A port is never chosen twice in one process, and only if a bind succeeds
now. A server that still finds its port taken is started again on another one by its owner.
"""

from __future__ import annotations

import secrets
import socket
import threading
from pathlib import Path

from failshut_servers.errors import EmbeddedUnavailable

_LOWEST = 15_000
_RANGE_FILE = Path("/proc/sys/net/ipv4/ip_local_port_range")
_ATTEMPTS = 200

_lock = threading.Lock()
_handed_out: set[int] = set()


def _first_ephemeral() -> int:
    """Return the first port that the kernel gives to outgoing connections; 32768 where it cannot be read."""
    try:
        first = int(_RANGE_FILE.read_text().split()[0])
    except (OSError, ValueError, IndexError):
        return 32_768
    # A machine tuned to use nearly everything for clients leaves no room below; then any port will do.
    return first if first > _LOWEST + 1_000 else 60_000


def is_free(port: int, host: str = "127.0.0.1") -> bool:
    """Say whether a server could listen on `port` now."""
    with socket.socket(socket.AF_INET, socket.SOCK_STREAM) as probe:
        # As servers do: a port whose last connection is only waiting to be forgotten counts as free.
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((host, port))
        except OSError:
            return False
    return True


def free_port(host: str = "127.0.0.1") -> int:
    """Return a port on which nobody listens and which this process has not handed out before.

    Raises:
        EmbeddedUnavailable: none was found in 200 attempts.
    """
    span = _first_ephemeral() - _LOWEST
    with _lock:
        for _ in range(_ATTEMPTS):
            port = _LOWEST + secrets.randbelow(span)
            if port not in _handed_out and is_free(port, host):
                _handed_out.add(port)
                return port
    raise EmbeddedUnavailable(
        f"no free port between {_LOWEST} and {_LOWEST + span} in {_ATTEMPTS} attempts",
        "stop servers that are no longer needed, or name a port yourself",
    )
