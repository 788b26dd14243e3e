"""Votes: an alarm where enough detectors agree, and none where one is alone."""

from __future__ import annotations

import pickle
import random
from collections.abc import Sequence

import pytest
from detectors.feeding import assert_same_however_fed, feed, times_of, where

from failshut_detectors import Alarm, Contract, Cusum, Detector, Ewma, Fhddm, Kind, SeasonalRecord, Unfit
from failshut_detectors.contract import StateVersionError
from failshut_detectors.votes import Votes


class At(Detector):
    """Alarms at the records named, and is ready from one on, but for so many after an alarm."""

    name = "at"
    kind = Kind.DRIFT

    def __init__(self, *places: int, ready_from: int = 0, unready_for: int = 0) -> None:
        self.places, self.ready_from, self.unready_for = places, ready_from, unready_for
        self.seen = 0
        self.spoke = -(10**9)

    @property
    def ready(self) -> bool:
        return self.seen >= self.ready_from and self.seen - self.spoke > self.unready_for

    def _feed(self, values: Sequence[float], times_ms: Sequence[int] | None) -> list[Alarm]:
        alarms = []
        for index in range(len(values)):
            self.seen += 1
            if self.seen - 1 in self.places:
                alarms.append(Alarm(index, f"at {self.seen - 1}"))
                self.spoke = self.seen
        return alarms

    def summary(self) -> str:
        return f"{self.seen} seen"


class Other(At):
    name = "other"


def alarms_of(votes: Votes, count: int = 100) -> list[Alarm]:
    return votes.feed([0.0] * count)


def test_votes_within_reach_of_each_other_are_an_alarm() -> None:
    """Ten records apart counts within eleven; the alarm is at the last vote, and says whose they were and what it said."""
    assert alarms_of(Votes([At(20), Other(30)], votes=2, within=11)) == [Alarm(30, "2 of 2, at and other: at 30")]
    assert alarms_of(Votes([At(20), Other(30)], votes=2, within=10)) == []


def test_one_detector_has_one_vote() -> None:
    """However often one speaks, it is outvoted."""
    assert alarms_of(Votes([At(20, 21, 22, 23), Other()], votes=2, within=50)) == []


def test_a_vote_that_is_cast_anew_counts_from_then() -> None:
    """The last time that a detector spoke is what counts."""
    assert where(alarms_of(Votes([At(10, 40), Other(45)], votes=2, within=10))) == [45]


def test_an_alarm_uses_its_votes_up() -> None:
    """After an alarm as many votes are needed as before it."""
    assert where(alarms_of(Votes([At(20), Other(21, 22, 23)], votes=2, within=50))) == [21]


def test_votes_of_one_record_are_one_alarm() -> None:
    """Three that speak at once are one alarm, with all their names, and none of them is left over for the next."""
    votes = Votes([At(20), Other(20), At(20, 21)], votes=2, within=50)
    assert alarms_of(votes) == [Alarm(20, "3 of 3, at, other and at: at 20")]


def test_one_vote_may_be_enough() -> None:
    """With votes: 1 any of them alarms."""
    assert where(alarms_of(Votes([At(20), Other(30)], votes=1, within=1))) == [20, 30]


def test_it_is_ready_when_all_are() -> None:
    """Enough of them are not enough at first: what was asked for is all of them."""
    votes = Votes([At(), At(), At(ready_from=10)], votes=2, within=5)
    votes.feed([0.0] * 9)
    assert not votes.ready
    assert votes.reading.text == "not enough evidence yet: at: 9 seen"
    votes.feed([0.0])
    assert votes.ready


def test_one_that_learns_anew_after_its_alarm_does_not_make_the_others_unready() -> None:
    """One alone decides nothing, by its silence neither; but fewer than the votes needed could never alarm."""
    votes = Votes([At(20, unready_for=50), At(30, unready_for=50), At()], votes=2, within=5)
    votes.feed([0.0] * 25)
    assert votes.ready
    votes.feed([0.0] * 10)
    assert not votes.ready, "one is left, and two are needed"
    votes.feed([0.0] * 60)
    assert votes.ready


def test_the_score_is_the_part_of_the_votes_that_stand() -> None:
    """Half the votes are half the threshold, until they are too old."""
    votes = Votes([At(20), At()], votes=2, within=5)
    votes.feed([0.0] * 21)
    assert (votes.score, votes.reading.demand, votes.summary()) == (0.5, False, "1 of 2 votes, at")
    votes.feed([0.0] * 5)
    assert votes.score == 0.0


def real() -> Votes:
    return Votes([Cusum(arl=200, learn=50), Ewma(arl=200, learn=50), SeasonalRecord(warm_up=50)], votes=2, within=20)


def stream(seed: int = 4) -> list[float]:
    rng = random.Random(seed)
    return [rng.gauss(50 + 20 * (at // 200 % 2), 4) for at in range(2000)]


def test_the_cut_of_batches_does_not_matter() -> None:
    """One by one, in batches and through pickles: the same alarms with the same words, and the same readings."""
    values, times = stream(), times_of(2000)
    assert_same_however_fed(real, values, times)
    alone, batched = real(), real()
    for at in range(0, 2000, 50):
        for value, time_ms in zip(values[at : at + 50], times[at : at + 50], strict=True):
            reading = alone.update(value, time_ms)
        batched.feed(values[at : at + 50], times[at : at + 50])
        assert batched.reading == reading


def test_agreement_is_rarer_than_either() -> None:
    """On noise that fools each chart, two that must agree within a few records alarm less."""
    rng = random.Random(8)
    values = [rng.gauss(0, 1) for _ in range(20_000)]

    def of(*detectors: Contract, votes: int) -> int:
        return len(Votes(detectors, votes, within=3).feed(values))

    either = of(Cusum(arl=300, learn=100), Cusum(arl=300, reference=1.5, learn=100), votes=1)
    both = of(Cusum(arl=300, learn=100), Cusum(arl=300, reference=1.5, learn=100), votes=2)
    assert 0 < both < either / 2


def test_detectors_of_events_vote_too() -> None:
    """What is no event is refused once, before any of them saw it."""
    votes = Votes([Fhddm(window=20), Fhddm(window=40)], votes=2, within=30)
    assert votes.kind is Kind.CONFORMANCE
    with pytest.raises(Unfit):
        votes.feed([1.0, 0.5])
    assert votes.feed([1.0] * 200) == []
    assert len(feed(votes, [0.0] * 40)) >= 1


def test_a_value_that_no_detector_may_see_reaches_none_of_them() -> None:
    """The batch is refused whole, and the next one is read."""
    votes = real()
    with pytest.raises(Unfit) as caught:
        votes.feed([1.0, float("nan")])
    assert caught.value.index == 1
    assert pickle.dumps(votes) == pickle.dumps(real())


@pytest.mark.parametrize(
    ("count", "votes", "within", "words"),
    [
        (1, 1, 1, "two to 8 of them vote"),
        (9, 1, 1, "two to 8 of them vote"),
        (3, 0, 1, "votes is 0, must be 1 to 3"),
        (3, 4, 1, "votes is 4, must be 1 to 3"),
        (3, 2, 0, "within is 0, must be 1 to 1000000"),
        (3, 2, 1_000_001, "must be 1 to 1000000"),
    ],
)
def test_what_makes_no_vote_is_refused(count: int, votes: int, within: int, words: str) -> None:
    """So few or so many detectors, votes or records are an error in words."""
    with pytest.raises(ValueError, match=words):
        Votes([At() for _ in range(count)], votes, within)


def test_state_of_another_version_of_one_detector_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    """The state of those that vote is inside the state of the vote, and so are their versions."""
    state = pickle.dumps(real())
    monkeypatch.setattr(Ewma, "version", 99)
    with pytest.raises(StateVersionError, match="ewma"):
        pickle.loads(state)
