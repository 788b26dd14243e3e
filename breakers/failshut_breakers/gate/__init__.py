"""What one gate does with a record: its state, its step, its breaker, and what operators ask of it."""

from failshut.former_names import attributes

__getattr__ = attributes(__name__, "step", "state")
