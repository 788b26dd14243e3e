"""The monitor's streaming half: transport, codecs, router, governor agent, clock, lag, snapshots."""

from failshut.former_names import forward
from failshut_streams.moved import MOVED

forward(__name__, MOVED)
