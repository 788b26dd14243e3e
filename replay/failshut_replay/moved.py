"""What this package's modules were called in 0.1 and where they are now; gone with 0.3."""

from typing import Final

MOVED: Final = {
    "bounds": "failshut_replay.tune.bounds",
    "choosing": "failshut_replay.tune.choices",
    "comparing": "failshut_replay.story.differences",
    "front_door": "failshut_replay.sources.front_door",
    "importing": "failshut_replay.sources.files",
    "judging": "failshut_replay.tune.objective",
    "labels": "failshut_replay.story.labels",
    "manifest": "failshut_replay.recording.manifest",
    "picture": "failshut_replay.story.picture",
    "reading": "failshut_replay.recording.reader",
    "rehearsal": "failshut_replay.replay.rehearsal",
    "reporting": "failshut_replay.story.report",
    "scoring": "failshut_replay.story.scores",
    "space": "failshut_replay.tune.space",
    "starting": "failshut_replay.replay.resume",
    "timeline": "failshut_replay.story.timeline",
    "tuning": "failshut_replay.tune.search",
    "whatif": "failshut_replay.replay.what_if",
    "writing": "failshut_replay.recording.writer",
}
