"""A router that takes up an activation goes back, and never forward."""

from __future__ import annotations

from failshut_breakers.evidence.log import EvidenceLog
from failshut_breakers.policy.policy import PolicyBook
from failshut_breakers.policy.routes import Routes
from failshut_streams.codecs import NativeDecoder
from failshut_streams.router.cutter import Cutter, RunHead
from failshut_streams.sources.marks import MARK_KEY, encode_mark
from failshut_streams.transport import Chunk, Record

MADE = (b"made",)


def test_a_second_activation_before_anything_is_read_again_does_not_go_forward() -> None:
    """Boundaries of a reading that was given up are none: governors stand where the first activation went back to."""
    cutter = Cutter("telemetry", 0, RunHead(EvidenceLog("topic", 1), 1, "router"), lambda gate: 0, NativeDecoder(), lambda: 1)
    marks = [Record(n, 1_000 * n, 1, MARK_KEY, encode_mark(1_000 * n + 1, 1), ()) for n in range(10)]
    cutter.cut(Chunk("telemetry", 0, 0, 10, marks, 1), Routes.of(PolicyBook(), MADE))
    assert cutter.reach == 10
    first = cutter.last_boundary_before(3_000)
    assert first == 3
    cutter.back_to(first)
    assert cutter.reach == 3
    assert cutter.last_boundary_before(8_000) == 3  # not 8, which nobody has been told of under the first activation
    cutter.cut(Chunk("telemetry", 0, 3, 10, marks[3:], 2), Routes.of(PolicyBook(), MADE))
    assert cutter.last_boundary_before(8_000) == 8
