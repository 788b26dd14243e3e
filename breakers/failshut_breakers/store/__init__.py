"""The store as the monitor writes it: the one room here that does I/O."""

from failshut.former_names import attributes

__getattr__ = attributes(__name__, "client")
