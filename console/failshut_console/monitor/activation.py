"""Putting a bundle of policies in force, and following a folder of them as it changes."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping, Sequence
from contextlib import suppress
from pathlib import Path

from aiokafka.errors import KafkaError
from pydantic import ValidationError

from failshut.signing import SigningKey
from failshut_breakers.command import Activate, CommandError
from failshut_breakers.policy.policy import Entry
from failshut_console.checks import policy_files, read_files
from failshut_console.edits import GateEdit, edits
from failshut_console.exits import Exit, Trouble, unreachable
from failshut_console.monitor.observed_series import observe
from failshut_console.monitor.policies_in_force import InForce
from failshut_streams.control.client import Operator, TermError, Unacknowledged, new_id
from failshut_streams.kafka.address import shown
from failshut_streams.kafka.topics import BrokerUnreachable
from failshut_streams.sources.marks import wall_ms


def read_bundle_folder(folder: Path) -> dict[str, str]:
    """Return the bundle in a folder, which may be empty.

    Raises:
        Trouble: the folder is not there or cannot be read.
    """
    try:
        return read_files(policy_files(folder))
    except OSError as error:
        raise Trouble(
            f"the policies in {folder} cannot be read: {error}",
            "nothing was activated; what is in force stays",
            "name another DIR",
        ) from error


async def edits_of(before: Mapping[str, Entry], broker: str, prefix: str, files: Mapping[str, str]) -> list[GateEdit]:
    """Return what a bundle would change of what is in force, and what that costs.

    What producers send is asked only where something must be learnt.
    """
    found = edits(before, files)
    if any(condition.readings for item in found for condition in item.conditions):
        with suppress(Trouble):  # who may not read telemetry is told how many readings are needed, and not how long that takes
            found = edits(before, files, await observe(broker, prefix))
    return found


def refused_by(before: InForce, files: Mapping[str, str], signatures: Sequence[str], version: int, installation: str) -> str:
    """Return why the policy authority would refuse a bundle now, or "" where it would not. A version of 0 is a fresh one."""
    of = installation or before.installation
    if before.authority is None or not of:  # without a term nothing comes into force at all
        return ""
    said = {"installation": of, "by": "nobody yet", "why": "it is asked first", "id": "none"}
    bundle = Activate.model_validate(said | {"version": version or wall_ms(), "files": files, "signatures": signatures})
    return before.authority.refuses(bundle, wall_ms(), before.version)


async def activate(
    broker: str,
    prefix: str,
    key: SigningKey,
    by: str,
    files: Mapping[str, str],
    why: str,
    version: int = 0,
    installation: str = "",
    signatures: Sequence[str] = (),
) -> tuple[int, int]:
    """Put a bundle in force; return its version and its place in control.

    Raises:
        Trouble: no acknowledgement, or a version that is not above the last one.
    """
    try:
        async with Operator(broker, key, prefix, by, timeout_s=10.0, installation=installation) as operator:
            if not version:
                return await operator.activate(files, why)
            last = await operator.last_activation()
            if last is not None and version <= last[0]:
                raise Trouble(
                    f"version {version} is not above version {last[0]}, which is in force",
                    "nothing was activated: an older bundle never replaces a newer one",
                    "leave --version out, or give a higher one",
                    Exit.REFUSED,
                )
            of = await operator.installation()
            command = Activate(
                installation=of,
                by=by,
                why=why,
                id=new_id(),
                version=version,
                files=dict(files),
                signatures=tuple(signatures),
            )
            return version, await operator.send(command)
    except (BrokerUnreachable, Unacknowledged, KafkaError, OSError) as error:
        raise unreachable(
            f"Kafka at {shown(broker)} did not acknowledge the policies: {error}",
            "look at `failshut policy list` first: they may be on the log. If not, start Kafka, or name it with --broker",
        ) from error
    except TermError as error:
        raise Trouble(
            f"no installation is known: {error}",
            "nothing was activated: a bundle counts in the installation that it names",
            "open a term (failshut term open), or name it: --installation ID",
        ) from error
    except (CommandError, ValidationError) as error:
        raise Trouble(
            f"the bundle cannot be sent: {error}",
            "nothing was activated; what is in force stays",
            "make the policies shorter; do not activate a part of them, because gates without a file close",
        ) from error


class FolderWatch:
    """Says when the policies in a folder say something else. A file that turns bad counts as well: it closes its gates."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self._last: dict[str, str] | None = None

    def changed(self) -> dict[str, str] | None:
        """Return the bundle, if it is another one than last time; None if it is the same, or the folder cannot be read now."""
        try:
            files = read_files(policy_files(self.folder))
        except OSError:
            return None
        if files == self._last:
            return None
        self._last = files
        return files

    def forget(self) -> None:
        """Forget what was seen last: it was not put in force, and is said again."""
        self._last = None


def activate_now(
    broker: str,
    prefix: str,
    key: SigningKey,
    by: str,
    files: Mapping[str, str],
    why: str,
    version: int = 0,
    installation: str = "",
    signatures: Sequence[str] = (),
) -> tuple[int, int]:
    """Do as `activate` does, for callers without an event loop."""
    return asyncio.run(activate(broker, prefix, key, by, files, why, version, installation, signatures))
