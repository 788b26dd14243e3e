"""The names of policies on record, as they are given now.

Until meaning 4 of policies a decision named a policy by the digest of its file's bytes. Now it names what the policy says. A
recording holds the texts, so each former name has a present one, and all that reads decisions sees that one.
"""

from __future__ import annotations

import re
from typing import Final

from failshut_breakers.policy.policy import NAMED_BY_FORM_SINCE, PolicyError, digest_of, policy_files
from failshut_replay.recording.manifest import Manifest

_NAMED: Final = re.compile(rb'"policy":"(sha256:[0-9a-f]{64})"')


def name_of_text(text: str) -> str:
    """Return the name by which decisions speak of a policy's text now."""
    try:
        return policy_files.of(text).digest
    except PolicyError:
        return digest_of(text)


class PolicyNames:
    """Gives decisions on record the present names of their policies."""

    def __init__(self, manifest: Manifest) -> None:
        former = manifest.meaning < NAMED_BY_FORM_SINCE
        texts = {text for one in manifest.policies for text in one.files.values()} if former else set()
        self._present = {digest_of(text).encode(): name_of_text(text).encode() for text in texts}

    def presently(self, decision: bytes) -> bytes:
        """Return a decision under the present name of its policy."""
        return _NAMED.sub(self._named, decision, count=1) if self._present else decision

    def _named(self, found: re.Match[bytes]) -> bytes:
        return b'"policy":"%s"' % self._present.get(found[1], found[1])
