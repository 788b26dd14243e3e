"""Properties are judged by their claims alone: how long an example takes on a busy machine is none of them."""

from hypothesis import settings

settings.register_profile("codecs", deadline=None)
settings.load_profile("codecs")
