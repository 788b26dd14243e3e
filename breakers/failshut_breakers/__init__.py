"""The deciding half of Failshut: evidence, policies, conditions, breakers, governors; permits and the store."""

from failshut.former_names import forward
from failshut_breakers.moved import MOVED

forward(__name__, MOVED)
