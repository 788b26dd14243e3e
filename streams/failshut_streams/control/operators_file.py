"""Names operators' keys on control when this worker's operators file changes.

A change is written to control at once. While it is written, this worker applies nothing from control. A command that
arrives meanwhile is judged after the change, by whatever control then says. Whether the change counts, control decides
(operators.py); where it does not, this worker says so and goes on with the keys on record.

Limits: a file is looked at once a second. A file that cannot be read withdraws nobody's key.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Sequence

from aiokafka import AIOKafkaProducer

from failshut.signing import KeySet, SigningKey
from failshut_streams.control.operators import (
    Named,
    OperatorsFile,
    OperatorsInForce,
    OperatorsUnreadable,
    encode_named,
    is_named,
    read_named,
)
from failshut_streams.transport import Record

logger = logging.getLogger(__name__)

LOOK_SECONDS = 1.0


class OperatorNaming:
    """One worker's word on who the operators are. `trouble` says where its file and control differ; empty if they do not."""

    def __init__(self, file: OperatorsFile, signing_key: SigningKey, worker: str, topic: str, evidence_id: str) -> None:
        self.trouble = ""
        self._file = file
        self._signing_key = signing_key
        self._worker = worker
        self._topic = topic
        self._evidence_id = evidence_id
        self._named_ms = -1  # time of change of the file that was named last
        self._said = ""

    @property
    def monitor(self) -> KeySet:
        """The public half of the key that names operators."""
        return self._signing_key.key_set()

    async def begin(self, records: Sequence[Record], producer: AIOKafkaProducer) -> bool:
        """Name the keys of the file if control names none yet; return whether it did: control is longer then.

        Raises:
            OperatorsUnreadable: the file cannot be read, and control names nobody.
        """
        self._file.look()
        if any(is_named(record) and self._counts(record) for record in records):
            return False
        if self._file.powers is None:
            raise OperatorsUnreadable(
                f"{self._file.fault}; control names no operators either, so no command counts and every gate stays closed"
            )
        await self._name(producer)
        return True

    async def follow(self, lock: asyncio.Lock, now: Callable[[], OperatorsInForce], producer: AIOKafkaProducer) -> None:
        """Follow the file for as long as the worker lives. `lock` is held while a change is written."""
        while True:
            self._file.look()
            async with lock:
                await self.compare(now().named, producer)
            await asyncio.sleep(LOOK_SECONDS)

    async def compare(self, named: Named | None, producer: AIOKafkaProducer) -> None:
        """Hold the file against the keys on record, and name its keys if it is the newer one."""
        powers, changed_ms = self._file.powers, self._file.changed_ms
        if powers is None or self._file.fault:
            self._say(f"{self._file.fault}: the keys that control names go on counting")
        elif named is not None and powers.digest == named.powers.digest:
            self._say("")
        elif named is not None and changed_ms <= named.changed_ms:
            self._say(
                f"the operators file names other keys than control does, and is older than the one that worker {named.worker} "
                f"had: copy the newer file here, or change this one if it is right"
            )
        elif changed_ms > self._named_ms:
            await self._name(producer)
        else:
            self._say("the operators file was named on control and does not count: is the clock of this host ahead?")

    async def _name(self, producer: AIOKafkaProducer) -> None:
        powers = self._file.powers
        if powers is None:
            raise OperatorsUnreadable(self._file.fault)
        key, value = encode_named(self._signing_key, powers, self._file.changed_ms, self._worker, self._evidence_id)
        await producer.send_and_wait(self._topic, value, key, partition=0)
        self._named_ms = self._file.changed_ms
        count = len(powers.authority.keys) if powers.authority else 0
        logger.info("named %d operators' keys and %d policy keys on control", len(powers.operators), count)

    def _counts(self, record: Record) -> bool:
        try:
            read_named(record, self.monitor, self._evidence_id)
        except OperatorsUnreadable:
            return False
        return True

    def _say(self, trouble: str) -> None:
        self.trouble = trouble
        if trouble != self._said:
            self._said = trouble
            if trouble:
                logger.warning("%s", trouble)
