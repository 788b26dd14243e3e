"""`failshut score`: recordings against their labels."""

from __future__ import annotations

from failshut_console.commands.options import AsJson
from failshut_console.commands.recordings.options import Files, Labels, Policies, Probes, Resets, Settle


def score(
    recordings: Files,
    policy: Policies = None,
    labels: Labels = None,
    settle: Settle = "0s",
    probes: Probes = True,
    reset_after: Resets = "",
    as_json: AsJson = False,
) -> None:
    """Score recordings against their labels: incidents missed, delay, false trips a week, time closed without
    cause.

    It scores the recorded decisions or, with --policy, what that policy would have decided. For comparison it also scores a
    gate that never closes, and one that is always closed.

    Exit status: 0 scored, 2 wrong usage, or labels that do not fit.
    """
    from failshut_console.recordings.score import score as work
    from failshut_console.recordings.shared import assumed_world

    work(recordings, policy or [], labels, settle, assumed_world(probes, reset_after), as_json)
