"""What a reset waits for: evidence from after the closing, and a cause that is gone."""

from __future__ import annotations

from log import World, policy

from failshut_breakers.conditions import Moment, Status, build
from failshut_breakers.decisions.decision import Breaker as State
from failshut_breakers.decisions.decision import Kind
from failshut_breakers.evidence.records import Samples
from failshut_breakers.policy.policy import parse_policy

RULE = 'conformance: {series: s/x, rule: "value <= 500", window: 10}'
GOOD, BAD = [1.0] * 30, [900.0] * 10


def test_evidence_of_the_closings_own_moment_is_not_from_after_it() -> None:
    """I7: a reset counts once evidence time has passed the newest mark at the closing; to be level with it is not enough."""
    world = World(policy("heartbeat: {source: a, grace: 60s}", reset="{probes: 0}"))
    world.marks(1_000, beat="a")
    world.command("lock")
    closing = world.gate().breaker.closing
    coverage = world.governors[0].coverages[-1]
    assert closing is not None
    assert coverage.evidence_ms == closing.at_ms
    refused = world.command("reset", epoch=int(world.last().epoch))
    assert [one.because for one in refused] == ["reset refused: no evidence from after the closing yet"]
    assert world.gate().breaker.state is State.LOCKED
    world.mark(1)
    assert coverage.evidence_ms == closing.at_ms + 1
    world.command("reset", epoch=int(world.last().epoch))
    assert world.gate().breaker.state is State.ARMED


def test_a_cooled_breaker_whose_fault_goes_on_does_not_begin_to_prove() -> None:
    """Bad readings go on coming: the note says once what is waited for, and no token is handed out."""
    world = World(policy(RULE, reset="{after: 2s, probes: 3}"))
    world.samples(GOOD)
    world.mark()
    assert world.is_open()
    for _ in range(20):
        world.samples(BAD)
        world.mark(500)
        assert world.gate().breaker.state is State.TRIPPED
    waits = [one.because for one in world.said if one.kind is Kind.NOTE]
    assert len(waits) == 1, waits
    assert waits[0].startswith("a reset waits for the cause to be gone: 10 of the last 10 of x")


def test_a_command_of_the_same_record_as_a_closing_answers_an_older_epoch() -> None:
    """Accept names the epoch that its operator saw."""
    world = World(policy(RULE, "drift: {series: s/y, detector: adwin}", reset="{after: 2s, probes: 0}"))
    world.samples(GOOD)
    world.samples([float(n % 7) for n in range(200)], "s/y")
    world.mark()
    world.samples([900.0 + n % 7 for n in range(100)], "s/y")
    world.mark()
    assert world.gate().breaker.state is State.TRIPPED
    epoch = int(world.last().epoch)
    (refused,) = world.command("accept", epoch=epoch - 1, condition="drift:s/y")
    assert "something came after what you saw" in refused.because
    (taken,) = world.command("accept", epoch=epoch, condition="drift:s/y")
    assert taken.because.startswith("accepted: ")


def test_after_unreadable_readings_so_many_that_can_be_read_are_news() -> None:
    """One good reading ends such a demand, and says too little to reset by."""
    world = World(policy(RULE.replace("window: 10", "window: 100, over: 0.9, detector: fhddm"), reset="{after: 2s, probes: 0}"))
    world.samples(GOOD * 4)
    world.mark()
    assert world.is_open()
    world.send(*[("fault", "s/x", "NaN")] * 10)
    world.mark()
    assert world.gate().breaker.state is State.TRIPPED
    world.samples([1.0])
    world.marks(10_000)
    assert world.gate().breaker.state is State.TRIPPED
    assert "reset waits for 1 of 60 readings of x from after the closing" in world.said[-1].because
    world.samples(GOOD * 2)
    world.marks(400)
    assert world.gate().breaker.state is State.ARMED


def test_a_cooldown_that_an_edit_adds_counts_from_the_closing() -> None:
    """TRIPPED for a minute, with its cause gone: the edited policy resets it at the next mark."""
    world = World(policy(RULE, reset="{probes: 0}"))
    world.samples(GOOD)
    world.mark()
    world.samples(BAD)
    world.mark()
    for _ in range(60):
        world.samples(GOOD)
        world.mark(1_000)
    assert world.gate().breaker.state is State.TRIPPED
    world.activate(policy(RULE, reset="{after: 30s, probes: 0}"))
    world.samples(GOOD)
    world.marks(400)
    assert world.gate().breaker.state is State.ARMED


def test_a_limit_that_was_passed_is_kept_again_by_later_readings_alone() -> None:
    """Good readings whose own times are from before the demand do not end it, however many."""
    one = build(parse_policy(policy(RULE.replace("}", ", stale: 1h, confidence: 1e-9}"))).conditions[0])

    def feed(value: float, own_ms: int, now_ms: int) -> Status:
        rows = [(now_ms + n, 0, own_ms, value) for n in range(20)]
        one.feed(Samples.of("s/x", rows), 0, Moment(now_ms, now_ms))
        return one.status

    assert feed(1.0, 1_000_000, 1_000_000) is Status.HOLDS
    assert feed(900.0, 1_001_000, 1_001_000) is Status.DEMANDS
    assert feed(1.0, 1_000_500, 1_002_000) is Status.DEMANDS
    assert feed(1.0, 1_003_000, 1_003_000) is Status.HOLDS
