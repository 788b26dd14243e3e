"""What a policy says: its text, its conditions and detectors, its rules, and which readings feed them."""

from failshut.former_names import attributes

__getattr__ = attributes(__name__, "policy")
