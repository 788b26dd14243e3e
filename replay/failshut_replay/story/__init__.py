"""What a replay comes to: timelines, differences, scores, pictures, reports."""

from failshut.former_names import attributes

__getattr__ = attributes(__name__, "story")
