"""Passwords and keys for docker/compose.yaml, made once and kept.

Writes docker/.env (mode 0600) with a random password for each user of Kafka and Redis; docker/keys/worker/ with the
key that signs permits, the JWKS file that guards verify them with, and the public keys of operators; and
docker/keys/operator.pem, the operator's own key, which no worker sees. What exists is never overwritten: a new signing
key closes every gate until guards have its JWKS.
"""

from __future__ import annotations

import os
import secrets
from pathlib import Path

from failshut.signing import SigningKey

HERE = Path(__file__).resolve().parent
USERS = ("KAFKA_ADMIN", "KAFKA_FAILSHUT", "KAFKA_PRODUCER", "KAFKA_OPERATOR", "REDIS_FAILSHUT", "REDIS_GUARD")
IMAGE_UID = 10001


def write_environment(path: Path, uid: int) -> bool:
    """Write the passwords and the workers' user id; False where the file exists."""
    lines = [f"{user}_PASSWORD={secrets.token_urlsafe(24)}" for user in USERS]
    try:
        descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    except FileExistsError:
        return False
    with os.fdopen(descriptor, "w") as file:
        file.write("\n".join([*lines, f"FAILSHUT_UID={uid}"]) + "\n")
    return True


def write_key(private: Path, public: Path, uid: int) -> bool:
    """Write a private key for the user `uid` and its JWKS file; False where there is a key."""
    if private.exists():
        return False
    for folder in (private.parent, public.parent):
        folder.mkdir(mode=0o755, parents=True, exist_ok=True)
    key = SigningKey.generate()
    key.write_jwks(public)
    key.save(private)
    if os.geteuid() == 0:
        os.chown(private, uid, uid)
    return True


def main(folder: Path = HERE) -> None:
    """Make what is missing and say what was made."""
    # The container's user must be able to read the key: ours if we are somebody, the image's if we are root.
    uid = os.geteuid() or IMAGE_UID
    keys = folder / "keys"
    monitor, operator = keys / "worker" / "monitor.pem", keys / "operator.pem"
    for made, path in (
        (write_environment(folder / ".env", uid), folder / ".env"),
        (write_key(monitor, keys / "worker" / "monitor.jwks.json", uid), monitor),
        (write_key(operator, keys / "worker" / "operators.jwks.json", os.geteuid()), operator),
    ):
        print(f"{'wrote' if made else 'kept '} {path}")
    print("Next: docker compose -f docker/compose.yaml up --build")


if __name__ == "__main__":
    main()
