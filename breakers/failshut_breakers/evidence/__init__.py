"""What counts: records of the evidence log, readings in them, and how far they are complete."""

from failshut.former_names import attributes

__getattr__ = attributes(__name__, "records")
