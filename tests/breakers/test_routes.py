"""Routes: who is fed by what, as a pure function of the policies in force."""

from __future__ import annotations

from log import policy

from failshut_breakers.evidence.records import Place
from failshut_breakers.gate.state import Gate
from failshut_breakers.gate.turn import Turn
from failshut_breakers.policy.policy import PolicyBook
from failshut_breakers.policy.routes import Routes, keys_of


def routes_of(*policies: str) -> Routes:
    book = PolicyBook()
    book.apply(7, 1, {f"{number}.yaml": text for number, text in enumerate(policies)}, "")
    return Routes.of(book)


def test_every_series_of_every_condition_is_routed() -> None:
    """One series or a list of them, by value, event or mere arrival: each feeds its gate, once."""
    routes = routes_of(
        policy(
            "drift: {series: s/a, detector: adwin}",
            "anomaly: {series: s/b}",
            "anomaly: {series: [s/c, s/d, s/a], every: 10s}",
            'conformance: {series: s/e, cel: "value < 9.0"}',
            "heartbeat: {series: s/f, grace: 3s}",
        ),
        policy("anomaly: {series: [s/c, s/z], every: 1s}", "lag: {group: g, topic: t, allowed: 1, behind: 1s}", gate="h"),
    )
    assert routes.series == {
        "s/a": ("g",),
        "s/b": ("g",),
        "s/c": ("g", "h"),
        "s/d": ("g",),
        "s/e": ("g",),
        "s/f": ("g",),
        "s/z": ("h",),
    }
    assert routes.lags == {("g", "t"): ("h",)}
    assert (routes.unreadable, routes.routing, list(routes.gates)) == ((), 7, ["g", "h"])


def test_a_series_is_fed_by_instance_where_a_policy_asks_alone() -> None:
    """A gate that judges it both ways is fed both."""
    asks = "drift: {series: s/a, detector: adwin, by: instance}"
    plain = "anomaly: {series: s/a}"
    routes = routes_of(policy(asks), policy(plain, gate="h"), policy(asks, plain, gate="i"))
    assert routes.series == {"s/a": ("h", "i")}
    assert routes.instances == {"s/a": ("g", "i")}


def test_a_gate_whose_policy_is_at_fault_is_fed_nothing() -> None:
    """One bad detector in a list, and none of its series is routed."""
    routes = routes_of(
        policy("drift: {series: s/a, detector: adwin}", "anomaly: {series: [s/b, s/c], every: 1s, detector: cusum}")
    )
    assert routes.series == {}
    assert list(routes.gates) == []


def test_what_nobody_can_read_concerns_whom_asks() -> None:
    """Unreadable records feed the gates whose policies have a condition of them, and no other."""
    asks = "unreadable: {at_least: 3, window: 10s}"
    beat = "heartbeat: {source: a, grace: 3s}"
    routes = routes_of(policy(beat), policy(beat, asks, gate="i"), policy(asks, gate="h"))
    assert routes.unreadable == ("h", "i")


def test_a_gate_gives_its_conditions_what_routers_forward_for_them() -> None:
    """Every kind of condition, under the names of the one function that routes: what is forwarded is fed."""
    book = PolicyBook()
    text = policy(
        "drift: {series: s/a, detector: adwin}",
        "anomaly: {series: [s/c, s/d], every: 10s}",
        'conformance: {series: s/e, cel: "value < 9.0"}',
        "heartbeat: {series: s/f, grace: 3s}",
        "heartbeat: {name: beat, source: s, grace: 3s}",
        "lag: {group: g, topic: t, allowed: 1, behind: 1s}",
        "failure_rate: {over: 0.5, window: 10s, at_least: 5}",
        "unreadable: {at_least: 5, window: 10s}",
    )
    book.apply(7, 1, {"g.yaml": text}, "")
    entry = book.entries["g"]
    assert entry.policy is not None, entry.fault
    gate = Gate("g")
    gate.activate(entry, 7, Place("control", 0, 7, 0), "", Turn())
    routed = {key: [] for condition in entry.policy.conditions for key in keys_of(condition)}
    for condition in entry.policy.conditions:
        for key in keys_of(condition):
            routed[key].append(condition.name)
    assert {key: [one.name for one in fed] for key, fed in gate.by_key.items()} == routed


def test_outcomes_feed_the_gates_with_a_condition_on_them() -> None:
    """A gate whose policy never asks how executions end is fed none; probes are another matter."""
    rate = "failure_rate: {window: 60s, at_least: 20, over: 0.5}"
    routes = routes_of(policy(rate, gate="h"), policy("drift: {series: s/a, detector: adwin}"))
    assert routes.outcomes == {"h"}
    assert list(routes.gates) == ["g", "h"]
