"""The router: front-door chunks become runs of evidence."""

from failshut.former_names import attributes

__getattr__ = attributes(__name__, "agent")
