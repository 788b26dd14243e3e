"""A decisions topic and a web server, each for one test."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from notify.receiving import Decisions, Receiver

from failshut_servers import Kafka


@pytest.fixture
def decisions(kafka: Kafka, suffix: str) -> Decisions:
    return Decisions(kafka, suffix)


@pytest.fixture
def receiver() -> Iterator[Receiver]:
    made = Receiver().up()
    yield made
    made.down()
