"""Policy authority: whose signatures a bundle needs, beside the command of the operator who puts it in force.

An operator says when a bundle comes into force, and where. A policy key says that this is the bundle that was agreed on.
Where an authority is named, neither counts without the other: an operator alone brings in no policy, and a policy key
alone commands nothing. No key may be both.

A signature names the files by their digest, the bundle's version, and the installations in which it may be used. It also
names a time after which nobody may bring the bundle in. A bundle that is in force already does not end then.

Limits: where no authority is named, an operator's command is enough. Policy keys are named in the operators file, so who names
operators names them too.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

import msgspec

from failshut.signing import KeySet, SigningKey, TokenError, UnusableKey, kid_of, read_token
from failshut_breakers.command import SIGNATURES_MAX, Activate

TYP_BUNDLE: Final = "failshut-policy+jwt"
POLICY_KEYS: Final = "failshut_policy_keys"
"""The member of an operators file that holds policy keys, as a JWKS does."""
NEEDED: Final = "failshut_policy_signatures"
"""The member of an operators file that says by how many of them a bundle is to be signed."""
POLICY_KEYS_MAX: Final = 100


class Signed(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """What one policy key says of a bundle. Times are in milliseconds since 1970, by the clock of whoever signed."""

    files: str
    version: int
    installations: list[str]
    by: str
    signed_ms: int
    expires_ms: int


def digest_of_files(files: Mapping[str, str]) -> str:
    """Return the SHA-256 (hexadecimal) of a bundle's files: of the JSON list of [name, text], sorted by name.

    The JSON is ASCII without spaces, so that any other program can make the same bytes.

    >>> digest_of_files({"a.yaml": "gate: a"})[:16]
    'e31cb490f131d6bd'
    """
    listed = json.dumps(sorted(files.items()), separators=(",", ":"), ensure_ascii=True)
    return hashlib.sha256(listed.encode()).hexdigest()


def sign_bundle(key: SigningKey, files: Mapping[str, str], version: int, installations: Sequence[str], **said: Any) -> str:
    """Return a policy key's signature over a bundle; `said` is `by`, `signed_ms` and `expires_ms`."""
    signed = Signed(digest_of_files(files), version, list(installations), **said)
    return key.sign(msgspec.to_builtins(signed), TYP_BUNDLE)


@dataclass(frozen=True)
class Authority:
    """Whose signatures a bundle needs, and how many of them."""

    keys: KeySet
    needed: int = 1

    def __post_init__(self) -> None:
        if type(self.needed) is not int or not 1 <= self.needed <= min(len(self.keys), SIGNATURES_MAX):
            raise UnusableKey(f"{NEEDED}: {self.needed!r} of {len(self.keys)} policy keys; at most {SIGNATURES_MAX} can sign")

    @property
    def kids(self) -> tuple[str, ...]:
        """The ids of the policy keys, sorted."""
        return tuple(sorted(entry["kid"] for entry in self.keys.to_dict()["keys"]))

    def members(self) -> dict[str, Any]:
        """Return the members of an operators file that name this authority."""
        return {POLICY_KEYS: self.keys.to_dict()["keys"], NEEDED: self.needed}

    def refuses(self, bundle: Activate, at_ms: int, in_force: int) -> str:
        """Return why a bundle may not come into force at a time (ms), or "" where it may. `in_force` is the version that is."""
        if bundle.version < in_force:
            return f"the policy bundle is rolled back: it has version {bundle.version}, and {in_force} is in force"
        return self._lacks(bundle, at_ms)

    def withdrawn(self, bundle: Activate) -> str:
        """Return why a bundle that came into force must not stay so, or "" where it may. Its end does not matter any more."""
        return self._lacks(bundle, None)

    def _lacks(self, bundle: Activate, at_ms: int | None) -> str:
        signers: set[str] = set()
        faults = []
        here = (bundle.installation, digest_of_files(bundle.files), bundle.version)
        for token in bundle.signatures:
            kid, fault = self._signer(token, *here, at_ms)
            if fault:
                faults.append(fault)
            else:
                signers.add(kid)
        if len(signers) >= self.needed:
            return ""
        why = "; ".join(dict.fromkeys(faults)) or "it is not signed by others"
        return f"the policy bundle has {len(signers)} of {self.needed} signatures of policy keys: {why}"[:500]

    def _signer(self, token: str, installation: str, files: str, version: int, at_ms: int | None) -> tuple[str, str]:
        """Return whose signature it is, and why it does not count for this bundle ("" where it does)."""
        try:
            _, claims = read_token(token, self.keys, TYP_BUNDLE)
            signed = msgspec.convert(claims, Signed)
        except (TokenError, msgspec.ValidationError) as error:
            return "", f"one is no signature of a policy key ({type(error).__name__}: {error})"
        kid = kid_of(token.encode())
        if installation not in signed.installations:
            return kid, f"{kid[:12]} signed it for another installation"
        if (signed.files, signed.version) != (files, version):
            return kid, f"{kid[:12]} signed another bundle: this one is torn, changed, or has another version"
        if at_ms is not None and signed.expires_ms <= at_ms:
            return kid, f"the signature of {kid[:12]} expired"
        return kid, ""


def authority_of(document: Mapping[str, Any]) -> Authority | None:
    """Return the authority that an operators file names; None where it names none, and operators alone decide.

    Raises:
        UnusableKey: it names one that cannot be used.
    """
    if POLICY_KEYS not in document:
        if NEEDED in document:
            raise UnusableKey(f"{NEEDED} without {POLICY_KEYS}")
        return None
    listed = document[POLICY_KEYS]
    if isinstance(listed, list) and len(listed) > POLICY_KEYS_MAX:
        raise UnusableKey(f"{len(listed)} policy keys; at most {POLICY_KEYS_MAX}")
    return Authority(KeySet.from_dict({"keys": listed}), document.get(NEEDED, 1))
