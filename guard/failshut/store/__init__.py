"""The guard's side of the store: names, addresses, connections, bounded answers."""

from failshut.former_names import attributes

__getattr__ = attributes(__name__, "client")
