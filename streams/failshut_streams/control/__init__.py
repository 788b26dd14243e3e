"""The control topic: commands, policies, operators' keys; who writes it and who reads it."""

from failshut.former_names import attributes

__getattr__ = attributes(__name__, "cutter", "reader")
