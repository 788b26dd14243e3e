"""What would have happened: recordings of evidence, and the governor that runs live over them, in virtual time.

`record` writes a recording, `Recording` reads it, `Replay` judges it again, `compare` and `score` say what that means.
Nothing here talks to Kafka or to a store: whoever has evidence hands it in as an iterable.
"""

from failshut.former_names import forward
from failshut_replay.errors import RecordingError, ReplayError
from failshut_replay.moved import MOVED
from failshut_replay.recording.reader import Recording
from failshut_replay.recording.record import Evidence, record
from failshut_replay.replay.replay import Replay, Step
from failshut_replay.replay.verdict import Verdict, check

__all__ = ["Evidence", "Recording", "RecordingError", "Replay", "ReplayError", "Step", "Verdict", "check", "record"]

forward(__name__, MOVED)
