"""The recording format: written whole or not at all, verified as it is read."""

from failshut.former_names import attributes

__getattr__ = attributes(__name__, "record")
