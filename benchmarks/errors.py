"""How soon a rise of an error rate is heard, and how often it is heard for nothing.

20,000 requests of which 1 % fail, then 2, 5, 10 or 50 %: requests to the first alarm (median of 40, those without one
within 10,000 requests counted as 10,000) and the share not heard. Beside it alarms in 2,000,000 requests in which nothing
changes, 1 % failing, and in 400 streams of 5,000 that have only begun. Ours and river's detectors on events, as they come.

    make bench NAME=errors
"""

from __future__ import annotations

from statistics import median

import harness
import numpy as np
from detector_contenders import EVENTS, Contender, ours, rivers

SHARE, AFTER = 0.01, (0.02, 0.05, 0.1, 0.5)
BEFORE, WITHIN, RISES = 20_000, 10_000, 40
STILL, FRESH, FRESH_STREAMS = 2_000_000, 5_000, 400
GOAL_REQUESTS = 500.0


def requests(share: float, count: int, seed: int) -> list[float]:
    """Independent requests; 0 is one that fails."""
    found: list[float] = (np.random.default_rng(seed).random(count) >= share).astype(float).tolist()
    return found


def measured(report: harness.Report, contender: Contender) -> dict[str, float]:
    """Add a contender's figures and return them by name."""
    found: dict[str, float] = {}
    for share in AFTER:
        delays = []
        for seed in range(RISES):
            detector = contender.make()
            detector.feed(requests(SHARE, BEFORE, seed))
            alarms = detector.feed(requests(share, WITHIN, 1_000 + seed))
            delays.append(alarms[0].index + 1 if alarms else WITHIN)
        found[f"1 to {share:.0%}"] = median(delays)
        report.figure(f"{contender.name}: 1 to {share:.0%}", median(delays), "requests")
        report.figure(f"{contender.name}: 1 to {share:.0%}, not heard", delays.count(WITHIN) / RISES, "share")
    detector, still = contender.make(), requests(SHARE, STILL, 7)
    alarms = sum(len(detector.feed(still[at : at + 1_000])) for at in range(0, STILL, 1_000))
    found["for nothing"] = alarms / STILL * 1e6
    report.figure(f"{contender.name}: for nothing", found["for nothing"], "in 1,000,000 requests")
    fresh = sum(len(contender.make().feed(requests(SHARE, FRESH, 50 + seed))) for seed in range(FRESH_STREAMS))
    report.figure(f"{contender.name}: for nothing, fresh", fresh / (FRESH * FRESH_STREAMS) * 1e6, "in 1,000,000 requests")
    return found


def main() -> None:
    report = harness.Report("errors", ["failshut", "numpy", "river"])
    default: dict[str, float] = {}
    for contender in (*ours(EVENTS), *rivers(EVENTS)):
        harness.say(contender.name)
        found = measured(report, contender)
        if contender.name == "bernoulli_cusum":
            default = found
    report.goal("bernoulli_cusum: requests until 1 to 5 % is heard", default["1 to 5%"], GOAL_REQUESTS)
    report.goal("bernoulli_cusum: false alarms in 1,000,000 requests", default["for nothing"], 1.0)
    report.finish()


if __name__ == "__main__":
    main()
