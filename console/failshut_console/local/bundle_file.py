"""A signed bundle as one file: policies, their version, and what policy keys said of them.

It is made where the policy keys are, and carried to an operator. Nothing in it is believed here: routers verify it, by the keys
that control names.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Final

import msgspec

from failshut.whole_file import write_whole
from failshut_breakers.command import SIGNATURES_MAX

BYTES_MAX: Final = 16 * 1024 * 1024
"""A longer file is no bundle: no command is so long."""


class BadBundle(ValueError):
    """A file that is no signed bundle."""


class BundleFile(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """What the file holds. `form` is 1; another number is another form, and is not read."""

    form: Annotated[int, msgspec.Meta(ge=1, le=1)] = msgspec.field(name="failshut_bundle")
    version: Annotated[int, msgspec.Meta(ge=1, lt=2**53)]
    files: dict[str, str]
    signatures: Annotated[list[str], msgspec.Meta(max_length=SIGNATURES_MAX)]

    @classmethod
    def read(cls, path: Path) -> BundleFile:
        """Read a file.

        Raises:
            OSError: it cannot be read.
            BadBundle: it is no signed bundle.
        """
        with path.open("rb") as file:
            content = file.read(BYTES_MAX + 1)
        if len(content) > BYTES_MAX:
            raise BadBundle(f"{path} has more than {BYTES_MAX} bytes")
        try:
            return msgspec.json.decode(content, type=cls)
        except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError) as error:
            raise BadBundle(f"{path} is no signed bundle: {error}") from error

    def write(self, path: Path) -> None:
        """Write the file (mode 0644), whole or not at all. Raises OSError."""
        write_whole(path, msgspec.json.format(msgspec.json.encode(self), indent=1) + b"\n", 0o644)


def bundle_of(version: int, files: Mapping[str, str], signatures: list[str]) -> BundleFile:
    """Return a bundle with these signatures. Raises BadBundle where they are too many."""
    if len(signatures) > SIGNATURES_MAX:
        raise BadBundle(f"{len(signatures)} signatures; a bundle has at most {SIGNATURES_MAX}")
    return BundleFile(form=1, version=version, files=dict(files), signatures=signatures)
