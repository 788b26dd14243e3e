"""Routes: who is fed by what, as a pure function of the policies in force."""

from __future__ import annotations

from log import policy

from failshut_breakers.policy import PolicyBook
from failshut_breakers.routes import Routes


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
