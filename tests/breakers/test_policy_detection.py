"""Which detector a policy asks for: every one that there is can be had, with every parameter, and every fault has its words."""

from __future__ import annotations

import pickle
from typing import Any

import pytest
from log import policy

from failshut_breakers.conditions import build
from failshut_breakers.policy.detection import ASKED
from failshut_breakers.policy.policy import Anomaly, Conformance, Drift, PolicyError, parse_policy
from failshut_detectors import (
    Adwin,
    Alarm,
    BernoulliCusum,
    Contract,
    Cusum,
    Detector,
    FalseTripBudget,
    Fhddm,
    Kind,
    PageHinkley,
    VectorDetector,
    registry,
)
from failshut_detectors.paced import Paced
from failshut_detectors.registry import OURS, RESERVED, DetectorError, Parameter, construct, parameters
from failshut_detectors.votes import Votes

PARAMETERS = [pytest.param(cls, one, id=f"{name}-{one.name}") for name, cls in OURS.items() for one in parameters(cls).values()]


def asking(cls: type[Contract], more: str = "") -> str:
    """A condition that asks for a detector, of its kind and on as many series as it wants."""
    series = "[s/x, s/y], every: 10s" if issubclass(cls, VectorDetector) else "s/x"
    rule = 'rule: "value < 9", ' if cls.kind is Kind.CONFORMANCE else ""
    return f"{cls.kind}: {{series: {series}, {rule}detector: {cls.name}{more}}}"


def read(condition: str) -> Drift | Anomaly | Conformance:
    one = parse_policy(policy(condition)).conditions[0]
    assert isinstance(one, Drift | Anomaly | Conformance)
    return one


def fault_of(condition: str) -> str:
    try:
        read(condition)
    except PolicyError as error:
        return str(error)
    return ""


def made(cls: type[Contract], **given: Any) -> Contract:
    return construct(cls, given, 2)


def another(cls: type[Contract], parameter: Parameter) -> Any:
    """A value of a parameter that is not its default, and that the detector takes."""
    default = parameter.default
    candidates = [not default] if isinstance(default, bool) else []
    if isinstance(default, int | float):
        candidates += [parameter.type(value) for value in (default * 0.9, default + 1, default * 0.5, default + 0.5)]
    for value in candidates:
        try:
            if value != default:
                made(cls, **{parameter.name: value})
                return value
        except DetectorError:
            continue
    raise AssertionError(f"{cls.name}: no other value of {parameter.name} is known")


@pytest.mark.parametrize("name", OURS)
def test_every_detector_can_be_asked_for(name: str) -> None:
    """By its name under the condition of its kind; what is built is that detector, pickles, and has no evidence yet."""
    one = read(asking(OURS[name]))
    detector = one.build_detector()
    assert type(detector) is OURS[name]
    assert not pickle.loads(pickle.dumps(detector)).ready
    assert pickle.loads(pickle.dumps(one)) == one == read(asking(OURS[name]))
    brief = build(one).brief()
    assert brief.status == "insufficient"
    assert len(brief.text) < 300


@pytest.mark.parametrize(("cls", "parameter"), PARAMETERS)
def test_every_parameter_of_every_detector_can_be_set(cls: type[Contract], parameter: Parameter) -> None:
    """What the policy says is what the constructor is given, and it makes a difference."""
    value = another(cls, parameter)
    detector = read(asking(cls, f", {parameter.name}: {value!r}".lower())).build_detector()
    assert pickle.dumps(detector) == pickle.dumps(made(cls, **{parameter.name: value}))
    assert pickle.dumps(detector) != pickle.dumps(made(cls))


ABSURD = ["999999999999999", "-1e300", "-1.0e+300", ".inf", ".nan", "much", "[1]", "{a: 1}", "null", "9" * 400]


@pytest.mark.parametrize(("cls", "parameter"), PARAMETERS)
def test_no_value_of_a_parameter_does_more_than_fault(cls: type[Contract], parameter: Parameter) -> None:
    """However absurd, it is refused while the policy is read, in words of bounded length, or it is taken."""
    for value in ABSURD:
        fault = fault_of(asking(cls, f", {parameter.name}: {value}"))
        assert not fault or (fault.startswith("conditions.detector: ") and len(fault) < 1_100), value


def test_no_parameter_has_the_name_of_a_setting() -> None:
    """Parameters stand flat beside a condition's own settings: those are reserved, all of them, and a window is of both."""
    settings = {*Drift.model_fields, *Anomaly.model_fields, *Conformance.model_fields, *ASKED}
    # demand_for was one, and is still read.
    assert settings - {*Conformance.shared} | {"demand_for"} == RESERVED
    assert not {one.values[1].name for one in PARAMETERS} & RESERVED


class Clashing(Detector):
    """Somebody's detector, with a parameter that no policy could set."""

    name = "clashing"
    kind = Kind.DRIFT
    ready = True

    def __init__(self, votes: int = 3) -> None:
        self.votes = votes

    def _feed(self, values: Any, times_ms: Any) -> list[Alarm]:
        return []

    def summary(self) -> str:
        return "nothing"


def test_a_plug_in_whose_parameter_has_the_name_of_a_setting_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    """It is a fault of the policy that asks for it, and nobody else's."""
    monkeypatch.setitem(registry.OURS, "clashing", Clashing)
    with pytest.raises(PolicyError, match="clashing: parameter 'votes' is a word of policies: give it another name"):
        read("drift: {series: s/x, detector: clashing}")
    read("drift: {series: s/x, detector: adwin}")


X = "series: s/x"
XY = "series: [s/x, s/y], every: 10s"
RULED = f'{X}, rule: "value < 9"'
VOTE = "detector: [adwin, cusum, {ewma: {weight: 0.2}}], votes: 2, within: 100"

WRONG = {
    "wrong kind": (f"drift: {{{X}, detector: seasonal_record}}", "seasonal_record stands under anomaly, under drift there are"),
    "wrong kind of an anomaly": (f"anomaly: {{{X}, detector: cusum}}", "cusum stands under drift, under anomaly there are"),
    "wrong kind of conformance": (f"conformance: {{{RULED}, detector: adwin}}", "adwin stands under drift"),
    "unknown parameter": (
        f"drift: {{{X}, detector: cusum, delta: 1}}",
        "cusum has no parameter 'delta': it has arl, reference, learn",
    ),
    "unknown setting": (f"anomaly: {{{X}, colour: red}}", "local_seasonal has no parameter 'colour'"),
    "a parameter of another type": (f"drift: {{{X}, detector: cusum, learn: 1.5}}", "learn is 1.5, must be of type int"),
    "a parameter that is a text": (f"drift: {{{X}, detector: cusum, arl: '5'}}", "arl is '5', must be of type float"),
    "a parameter that is yes": (f"drift: {{{X}, detector: cusum, learn: yes}}", "learn is True, must be of type int"),
    "a parameter beyond bounds": (f"drift: {{{X}, detector: cusum, reference: -1}}", "reference is -1.0, must be positive"),
    "a count beyond memory": (f"drift: {{{X}, detector: cusum, learn: 2000000}}", "learn is 2000000, may be 1000000 at most"),
    "a duration that is none": (f"anomaly: {{{X}, rest_ms: 8 hours}}", "'8 hours' is not a duration"),
    "a detector that is a number": (f"drift: {{{X}, detector: 5}}", "a detector is a name"),
    "a detector that is a mapping": (f"drift: {{{X}, detector: {{cusum: {{arl: 1}}}}}}", "a detector is a name"),
    "one series for a vector": (
        f"anomaly: {{{X}, detector: mahalanobis}}",
        "judges several series together: give series a list",
    ),
    "several series for one": (f"drift: {{{XY}, detector: adwin}}", "adwin judges one series, several are judged by"),
    "several series without every": ("anomaly: {series: [s/x, s/y]}", "every says how often several series"),
    "every for one series": (f"anomaly: {{{X}, every: 1s}}", "give it with a list alone"),
    "a list of one series": ("anomaly: {series: [s/x], every: 1s}", "1 series: two to 32 different ones"),
    "a series twice": ("anomaly: {series: [s/x, s/x], every: 1s}", "2 series: two to 32 different ones"),
    "a list with what is none": ("anomaly: {series: [s/x, 5], every: 1s}", "5 is no series"),
    "too many series": (f"anomaly: {{series: [{', '.join(f's/{n}' for n in range(33))}], every: 1s}}", "33 series"),
    "several series for a rule": ('conformance: {series: [s/x, s/y], rule: "value < 9"}', "conditions.series: "),
    "no rule": (f"conformance: {{{X}}}", "either a rule or a cel expression"),
    "rule and cel": (f'conformance: {{{RULED}, cel: "value < 9.0"}}', "either a rule or a cel expression"),
    "a cel that is no text": (f"conformance: {{{X}, cel: [1]}}", "a rule is text"),
    "a promise that nobody makes": (f"anomaly: {{{X}, false_trips: 1 per 30d}}", "makes no promise of how often it is wrong"),
    "a budget and its parameter": (
        f"drift: {{{X}, detector: cusum, arl: 5000, false_trips: 1 per 30d}}",
        "cusum: arl follows from false_trips: give one of them",
    ),
    "two budgets": (f"drift: {{{X}, per_ms: 1d, false_trips: 1 per 30d}}", "per_ms follows from false_trips"),
    "a budget in records and one in time": (f"drift: {{{X}, per_records: 9, false_trips: 1 per 9d}}", "per_records follows"),
    "a budget without a number": (f"drift: {{{X}, false_trips: per 30d}}", "is not a frequency"),
    "a budget that is a number": (f"drift: {{{X}, false_trips: 1}}", "is not a frequency"),
    "a budget that is nothing": (f"drift: {{{X}, false_trips: }}", "is not a frequency"),
    "a budget of none": (f"drift: {{{X}, false_trips: 0 per 30d}}", "at least one in a hundred years"),
    "a budget of very many": (f"drift: {{{X}, false_trips: 100 per 1m}}", "at most one a minute"),
    "a budget in no time": (f"drift: {{{X}, false_trips: 1 per month}}", "is not a duration"),
    "a budget and votes": (f"drift: {{{X}, {VOTE}, false_trips: 1 per 30d}}", "false_trips and votes do not go together"),
    "votes of one": (f"drift: {{{X}, detector: cusum, votes: 1}}", "votes is for several detectors"),
    "within of one": (f"drift: {{{X}, detector: cusum, within: 9}}", "within is for several detectors"),
    "a list of one detector": (f"drift: {{{X}, detector: [cusum], votes: 1, within: 1}}", "1 detectors: two to 8 of them vote"),
    "an empty list": (f"drift: {{{X}, detector: [], votes: 1, within: 1}}", "0 detectors: two to 8"),
    "nine of them": (f"drift: {{{X}, detector: [{', '.join(['cusum'] * 9)}], votes: 1, within: 1}}", "9 detectors: two to 8"),
    "votes that nobody counts": (f"drift: {{{X}, detector: [adwin, cusum], within: 9}}", "say how many of the 2 are needed"),
    "votes for ever": (f"drift: {{{X}, detector: [adwin, cusum], votes: 1}}", "say how many of the 2 are needed"),
    "more votes than voters": (f"drift: {{{X}, detector: [adwin, cusum], votes: 3, within: 9}}", "votes is 3, must be 1 to 2"),
    "votes of none": (f"drift: {{{X}, detector: [adwin, cusum], votes: 0, within: 9}}", "votes is 0, must be a whole number"),
    "half a vote": (f"drift: {{{X}, detector: [adwin, cusum], votes: 1.5, within: 9}}", "votes is 1.5, must be a whole number"),
    "within a week": (
        f"drift: {{{X}, detector: [adwin, cusum], votes: 1, within: 1w}}",
        "within is '1w', must be a whole number",
    ),
    "within too many": (f"drift: {{{X}, detector: [adwin, cusum], votes: 1, within: 9000000}}", "must be 1 to 1000000 records"),
    "a voter of another kind": (
        f"drift: {{{X}, detector: [adwin, fhddm], votes: 1, within: 9}}",
        "fhddm stands under conformance",
    ),
    "a voter that is unknown": (
        f"drift: {{{X}, detector: [adwin, magic], votes: 1, within: 9}}",
        "no detector is named 'magic'",
    ),
    "a voter of two names": (
        f"drift: {{{X}, detector: [{{adwin: {{}}, ewma: {{}}}}, ewma], votes: 1, within: 9}}",
        "is a name",
    ),
    "a voter's parameters are none": (f"drift: {{{X}, detector: [{{adwin: 5}}, ewma], votes: 1, within: 9}}", "are a mapping"),
    "a voter's wrong parameter": (
        f"drift: {{{X}, detector: [{{adwin: {{arl: 5}}}}, ewma], votes: 1, within: 9}}",
        "adwin has no parameter 'arl'",
    ),
    "a parameter of all voters": (f"drift: {{{X}, {VOTE}, arl: 9.0}}", "'arl' stands with its detector where several vote"),
}


@pytest.mark.parametrize("name", WRONG)
def test_a_detector_that_cannot_be_had_is_refused_in_words(name: str) -> None:
    """The fault says what is wrong, and what there is; it is one fault, where the detector stands."""
    text, words = WRONG[name]
    fault = fault_of(text)
    assert words in fault
    assert "; " not in fault
    assert len(fault) < 700


def test_without_a_name_the_condition_has_its_own_detector() -> None:
    """Each kind has one, drift only with a budget, and several series theirs."""
    found = {
        text: [choice.name for choice in read(text).detector.choices]
        for text in (
            f"anomaly: {{{X}}}",
            f"anomaly: {{{XY}}}",
            f"conformance: {{{RULED}}}",
            f"drift: {{{X}, false_trips: 1 per 30d}}",
        )
    }
    assert list(found.values()) == [["local_seasonal"], ["mahalanobis"], ["bernoulli_cusum"], ["false_trip_budget"]]


@pytest.mark.parametrize(
    ("text", "detector"),
    [
        (f"drift: {{{X}, detector: adwin}}", Adwin()),
        (f"drift: {{{X}, detector: adwin, delta: 0.01, warm_up: 40}}", Adwin(delta=0.01, warm_up=40)),
        (f"drift: {{{X}, detector: page_hinkley, threshold: 10}}", PageHinkley(threshold=10.0)),
        (f"drift: {{{X}, detector: page_hinkley, delta: 1, warm_up: 40}}", PageHinkley(delta=1.0, warm_up=40)),
        (f"drift: {{{X}, detector: page_hinkley, threshold: 10, scale: 3}}", PageHinkley(threshold=10.0, scale=3.0)),
        (f"conformance: {{{RULED}}}", BernoulliCusum()),
        (f"conformance: {{{RULED}, window: 30, arl: 1e4}}", BernoulliCusum(arl=1e4, window=30)),
        (f"conformance: {{{RULED}, window: 30, confidence: 0.1, over: 0.2}}", Fhddm(window=30, confidence=0.1)),
    ],
)
def test_a_policys_parameters_are_the_detectors(text: str, detector: Detector) -> None:
    """What stands beside its name is its constructor's, and nothing is added."""
    assert pickle.dumps(read(text).build_detector()) == pickle.dumps(detector)


def test_a_policy_that_sets_what_only_the_former_default_has_keeps_it() -> None:
    """Before 0.2 `anomaly` and `conformance` without a name were other detectors, and such a policy was written for these."""
    for text, name in (
        (f"anomaly: {{{X}, range_share: 0.5}}", "seasonal_record"),
        (f"anomaly: {{{X}, warm_up: 300}}", "local_seasonal"),
        (f"conformance: {{{RULED}, confidence: 0.001}}", "fhddm"),
        (f"conformance: {{{RULED}, window: 30}}", "bernoulli_cusum"),
    ):
        assert [choice.name for choice in read(text).detector.choices] == [name], text


def test_a_window_is_the_conditions_and_the_detectors() -> None:
    """The share `over` is of the condition's own window, which is the detector's too where it has one."""
    one = read(f"conformance: {{{RULED}, window: 30, detector: fhddm}}")
    assert isinstance(one, Conformance)
    assert (one.window, dict(one.detector.choices[0].given)) == (30, {"window": 30})
    two = read(f"conformance: {{{RULED}, window: 30, detector: [fhddm, {{fhddm: {{window: 50}}}}], votes: 2, within: 9}}")
    assert [dict(choice.given) for choice in two.detector.choices] == [{"window": 30}, {"window": 50}]


def test_durations_are_taken_with_a_unit_or_in_milliseconds() -> None:
    """A parameter in milliseconds takes `8h` as it takes 28800000."""
    assert read(f"anomaly: {{{X}, rest_ms: 8h}}") == read(f"anomaly: {{{X}, rest_ms: 28800000}}")


def test_a_number_that_yaml_takes_for_a_text_is_a_number() -> None:
    """`1e-6` has no point, and so is no number to YAML; here it is one."""
    one = read(f"conformance: {{{RULED}, confidence: 1e-6}}")
    assert pickle.dumps(one.build_detector()) == pickle.dumps(Fhddm(confidence=1e-6))


def test_a_budget_goes_to_whoever_keeps_it_in_time() -> None:
    """The budget detector is given the time; a chart is given a pace; both say what the budget is."""
    budget, chart = (
        read(f"drift: {{{X}, false_trips: 2 per 7d}}"),
        read(f"drift: {{{X}, detector: cusum, false_trips: 2 per 7d}}"),
    )
    assert budget.false_trips == chart.false_trips == 3.5 * 86_400_000
    assert pickle.dumps(budget.build_detector()) == pickle.dumps(FalseTripBudget(per_ms=3.5 * 86_400_000))
    assert pickle.dumps(chart.build_detector()) == pickle.dumps(Paced(Cusum, {}, 3.5 * 86_400_000))
    assert read(f"drift: {{{X}, detector: cusum}}").false_trips == 0.0


@pytest.mark.parametrize("name", OURS)
def test_a_budget_is_kept_or_refused(name: str) -> None:
    """Every detector takes a budget of false trips or makes no promise, and then says what else to give."""
    text = asking(OURS[name], ", false_trips: 1 per 30d")
    try:
        OURS[name].for_false_trips(10_000.0)
    except ValueError:
        with pytest.raises(PolicyError, match=f"{name} makes no promise of how often it is wrong"):
            read(text)
    else:
        assert not read(text).build_detector().ready


def test_several_vote_each_with_its_own_parameters() -> None:
    """Names and mappings mix, a warm-up goes to whoever has one, and what is built votes."""
    one = read(f"drift: {{{X}, {VOTE}, warm_up: 50}}")
    assert [(choice.name, dict(choice.given)) for choice in one.detector.choices] == [
        ("adwin", {"warm_up": 50}),
        ("cusum", {}),
        ("ewma", {"weight": 0.2}),
    ]
    assert (one.detector.votes, one.detector.within) == (2, 100)
    assert isinstance(one.build_detector(), Votes)
    assert pickle.loads(pickle.dumps(one)) == one


def test_several_series_have_a_name_that_is_short() -> None:
    """A condition on many series is named by the first."""
    assert read(f"anomaly: {{{XY}}}").name == "anomaly:s/x and 1 more"
