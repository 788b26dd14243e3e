"""docs/production/topics.md names every topic and every key of the store that the code defines, with the topics' settings."""

from __future__ import annotations

import inspect
import re
from pathlib import Path

import pytest

from failshut.store.names import Names
from failshut_streams.control.operators import KEY_PREFIX as OPERATORS
from failshut_streams.control.retelling import KEY_PREFIX as RETELL
from failshut_streams.kafka.topics import CONTROL, ROLES, Counts, settings_of
from failshut_streams.sources.marks import MARK_KEY
from failshut_streams.worker import SNAPSHOTS

PAGE = (Path(__file__).resolve().parents[2] / "docs" / "production" / "topics.md").read_text(encoding="utf-8")
DAY_MS = 86_400_000
ID = "1" * 16
#: What a part of a key is called on the page, by the parameter that it comes from.
PARTS = {"gate": "GATE", "partition": "N", "worker_id": "WORKER"}


def rows(heading: str) -> dict[str, list[str]]:
    """The rows of the first table under a heading, by what stands in backticks in the first cell."""
    section = PAGE.partition(f"\n## {heading}\n")[2].partition("\n## ")[0]
    table = re.search(r"(?:^\|.*\n)+", section, re.MULTILINE)
    assert table is not None, f"no table under {heading!r}"
    lines = [[cell.strip() for cell in line.strip("|").split(" | ")] for line in table[0].splitlines()[2:]]
    return {cells[0].strip("| `"): cells[1:] for cells in lines}


def families() -> set[str]:
    """Every name in the store, with the page's words for its parts. Patterns, which are for access rights, are no names."""
    names, found = Names(ID), set[str]()
    for attribute in dir(Names):
        if attribute.startswith("_"):
            continue
        value = getattr(names, attribute)
        if callable(value):
            value = value(*(PARTS[parameter] for parameter in inspect.signature(value).parameters))
        found.add(str(value).replace(ID, "INSTALLATION"))
    return {name for name in found if name.startswith("failshut:") and "*" not in name}


@pytest.mark.parametrize("heading", ["Which topics are there?", "What is a record?", "How big do they grow?"])
def test_every_topic_has_its_row(heading: str) -> None:
    """Each role, and the changelog of a group's snapshots; no row is of a topic that is none."""
    assert set(rows(heading)) == {*ROLES, f"GROUP-{SNAPSHOTS}-changelog"}


@pytest.mark.parametrize("role", ROLES)
def test_a_topics_settings_are_those_that_it_is_created_with(role: str) -> None:
    """Its partitions, its cleanup, and for how long it is kept."""
    partitions, cleanup, kept, largest = rows("How are topics set up?")[role]
    settings = settings_of(role, 3)
    assert re.split(r"\W", partitions)[0] == str(Counts().of(role))
    assert cleanup == settings["cleanup.policy"]
    assert kept == ("for ever" if role == CONTROL else f"{int(settings['retention.ms']) // DAY_MS} days")
    bytes_max = settings.get("max.message.bytes")
    assert largest == ("Kafka's" if bytes_max is None else f"{int(bytes_max) >> 20} MiB")


def test_every_key_of_the_store_has_its_row() -> None:
    """No more and no fewer than `Names` makes; a new one needs its row, with who writes and who reads it."""
    assert set(rows("What stands in the store?")) == families()


def test_the_keys_of_control_are_named() -> None:
    """Those that are no order's: marks, operators, requests to tell again."""
    for key in (MARK_KEY, OPERATORS, RETELL):
        assert f"`{key.decode()}" in PAGE
