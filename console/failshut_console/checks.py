"""Checking policies without a monitor: what is wrong, where, and on which line.

A policy that does not hold up closes its gates, so it is worth asking before it is activated. The check itself is the code that
governors use (`failshut_breakers.policy`), which says where in the document each fault is. This module adds the line.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import yaml

from failshut_breakers.policy.faults import PolicyFault, faults_of
from failshut_breakers.policy.policy import Policy, PolicyError, gates_named, parse_policy
from failshut_console.hazards import hazards
from failshut_console.monitor.observed_series import Observed, unlike

SUFFIXES = (".yaml", ".yml")


@dataclass(frozen=True, slots=True)
class Fault:
    """One thing that is wrong. `line` counts from 1; 0 where the fault has no line, such as a file that cannot be read."""

    line: int
    where: str
    why: str


@dataclass(frozen=True, slots=True)
class Checked:
    """What was found in one file."""

    file: str
    gate: str
    faults: tuple[Fault, ...]
    policy: Policy | None = None
    warnings: tuple[Fault, ...] = ()  # what looks safe and is not

    @property
    def good(self) -> bool:
        """Whether the policy can be used."""
        return not self.faults

    def as_json(self) -> dict[str, Any]:
        """Return it for a machine."""
        return {
            "file": self.file,
            "gate": self.gate,
            "good": self.good,
            "digest": self.policy.digest if self.policy is not None else "",
            "faults": [asdict(fault) for fault in self.faults],
            "warnings": [asdict(warning) for warning in self.warnings],
        }


def policy_files(folder: Path) -> list[Path]:
    """Return the policy files of a folder, in order; names that begin with a dot are not policies."""
    return sorted(path for path in folder.iterdir() if path.suffix in SUFFIXES and not path.name.startswith("."))


def read_files(paths: Iterable[Path]) -> dict[str, str]:
    """Return texts by file name. A file that cannot be decoded is kept as it is, so that it closes its gates.

    Raises:
        OSError: a file cannot be read at all.
    """
    return {path.name: path.read_bytes().decode("utf-8", "replace") for path in paths}


def check_file(path: Path, observed: Observed | None = None) -> Checked:
    """Check one file. Never raises: what cannot be read is a fault too."""
    try:
        text = path.read_bytes().decode("utf-8")
    except (OSError, UnicodeDecodeError) as error:
        return Checked(str(path), "", (Fault(0, "file", f"cannot be read: {error}"),))
    return check_text(str(path), text, observed)


def check_text(file: str, text: str, observed: Observed | None = None) -> Checked:
    """Check one policy's text, and beside what producers send if that is known."""
    named = gates_named(text)
    gate = named[0] if named else ""
    try:
        policy = parse_policy(text)
    except PolicyError:
        return Checked(file, gate, tuple(_placed(text, faults_of(text))))
    return Checked(file, policy.gate, (), policy, tuple(_warnings(text, policy, observed)))


def _warnings(text: str, policy: Policy, observed: Observed | None) -> Iterable[Fault]:
    root = yaml.compose(text, Loader=yaml.SafeLoader)
    if "demand_for" in text:
        line = next((at for at, words in enumerate(text.splitlines(), 1) if "demand_for" in words), 1)
        yield Fault(line, "demand_for", "it has no effect: a demand stands until its cause is gone; leave it out")
    try:
        found = hazards(policy) + (unlike(policy, observed) if observed is not None else [])
    except Exception as error:  # noqa: BLE001 - detectors are tried out, and a plug-in may fail in any way
        yield Fault(1, "conditions", f"a detector cannot be tried out: {type(error).__name__}: {error}; write another one")
        return
    for hazard in found:
        yield Fault(_line(root, hazard.where), ".".join(hazard.where), f"{hazard.why}; {hazard.mend}")


def check_together(checked: list[Checked]) -> list[Checked]:
    """Add what is only wrong with files taken together: two policies for one gate."""
    files = {item.file: item for item in checked}
    first: dict[str, str] = {}
    for item in checked:
        if not item.gate:
            continue
        other = first.setdefault(item.gate, item.file)
        if other != item.file:
            for file, against in ((item.file, other), (other, item.file)):
                old = files[file]
                fault = Fault(1, "gate", f"two policies for one gate: {old.gate} is also in {against}")
                files[file] = Checked(old.file, old.gate, (*old.faults, fault))
    return [files[item.file] for item in checked]


# --- finding the line ---


def _placed(text: str, faults: Iterable[PolicyFault]) -> Iterable[Fault]:
    """Give each fault its line: that of the deepest node on its path."""
    root = None
    for fault in faults:
        if fault.line:
            yield Fault(fault.line, "file", fault.why)
            continue
        root = root or yaml.compose(text, Loader=yaml.SafeLoader)
        yield Fault(_line(root, fault.path), ".".join(fault.path) or "policy", fault.why)


def _line(node: Any, path: Iterable[str]) -> int:
    """Return the line of the deepest node on the path that there is."""
    line = node.start_mark.line + 1
    for part in path:
        found = None
        if isinstance(node, yaml.MappingNode):
            for key, value in node.value:
                if key.value == part:
                    found, line = value, key.start_mark.line + 1
        elif isinstance(node, yaml.SequenceNode) and part.isdigit() and int(part) < len(node.value):
            found = node.value[int(part)]
            line = found.start_mark.line + 1
        if found is None:
            break
        node = found
    return int(line)
