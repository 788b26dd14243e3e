"""Passwords, keys and the stores' users for docker/compose.yaml, made once and kept.

Writes docker/.env (mode 0600) with a random password for each user of Kafka and the stores; docker/keys/installation with
the installation's id, which the first term is opened with; docker/keys/worker/ with the key that signs permits, the JWKS
file that guards verify them with, and the public keys of operators; docker/keys/operator.pem, the operator's own key,
which no worker sees; docker/keys/services/NAME.env (mode 0600) for each service of services.txt; and docker/keys/stores/
with the users of both stores. What exists is never overwritten, but for the users' files, which follow services.txt:
a new signing key closes every gate until guards have its JWKS. A user that came with a later version gets its password.
"""

from __future__ import annotations

import hashlib
import os
import re
import secrets
from collections.abc import Mapping
from pathlib import Path

from failshut.signing import SigningKey
from failshut.store.names import Names, check_gate, new_installation

HERE = Path(__file__).resolve().parent
USERS = (
    *("KAFKA_ADMIN", "KAFKA_FAILSHUT", "KAFKA_PRODUCER", "KAFKA_OPERATOR", "KAFKA_VIEWER"),
    *("REDIS_FAILSHUT", "REDIS_OPERATOR", "REDIS_VIEWER"),
)
PEOPLE = ("operator", "viewer")
IMAGE_UID = 10001
# What a connection needs by itself. No category: @connection would bring CLIENT KILL and CLIENT PAUSE, which close
# other services' connections and hold up the monitor's writes.
CONNECTION = "+ping +hello +auth +select +client|setname"
READING = "+getrange +hstrlen +hmget +pttl +rpop +multi +exec +discard +subscribe +unsubscribe"
LOOKING = "+getrange +pttl +multi +exec +discard +scan +sscan +info +subscribe +unsubscribe"
CLEARING = "+eval +hstrlen +hget +unlink"
"""What `failshut fence clear` does. It can remove a record, which closes a gate, and write none."""


def write_environment(path: Path, uid: int, installation: str) -> bool:
    """Write the passwords, the installation, and who owns which key. What stands there stays; False if nothing lacks."""
    there = dict(line.split("=", 1) for line in path.read_text().splitlines()) if path.exists() else {}
    wanted = {f"{user}_PASSWORD": secrets.token_urlsafe(24) for user in USERS}
    wanted |= {"FAILSHUT_UID": str(uid), "FAILSHUT_OPERATOR_UID": str(os.geteuid()), "FAILSHUT_INSTALLATION": installation}
    lines = [f"{name}={value}" for name, value in (wanted | there).items()]
    if there.keys() >= wanted.keys():
        return False
    path.unlink(missing_ok=True)
    return write_new(path, "\n".join(lines) + "\n")


def write_new(path: Path, text: str, mode: int = 0o600) -> bool:
    """Write a file that is not there; False where it is."""
    path.parent.mkdir(mode=0o755, parents=True, exist_ok=True)
    try:
        descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, mode)
    except FileExistsError:
        return False
    with os.fdopen(descriptor, "w") as file:
        file.write(text)
    return True


def write_key(private: Path, public: Path, uid: int, installation: str = "") -> bool:
    """Write a private key for the user `uid` and its JWKS file, which names the installation; False where there is a key."""
    if private.exists():
        return False
    for folder in (private.parent, public.parent):
        folder.mkdir(mode=0o755, parents=True, exist_ok=True)
    key = SigningKey.generate()
    keys = key.key_set()
    (keys.of(installation) if installation else keys).write(public)
    key.save(private)
    if os.geteuid() == 0:
        os.chown(private, uid, uid)
    return True


def read_services(path: Path) -> dict[str, list[str]]:
    """Return the gates of each service. Raises ValueError for a line that is none."""
    services: dict[str, list[str]] = {}
    for line in path.read_text().splitlines():
        words = line.partition("#")[0].split()
        if not words:
            continue
        name, *gates = words
        if not re.fullmatch(r"[a-z][a-z0-9-]{0,63}", name) or name in ("default", "failshut", *PEOPLE) or not gates:
            raise ValueError(f"{path}: {line!r} is not a service and its gates")
        services.setdefault(name, []).extend(check_gate(gate) for gate in gates)
    return services


def write_service(path: Path, name: str, installation: str) -> bool:
    """Write what a service's environment needs, with a password of its own; False where the file exists."""
    password = secrets.token_urlsafe(24)
    return write_new(
        path,
        f"FAILSHUT_STORE=redis://{name}:{password}@redis:6379/0\n"
        f"FAILSHUT_OUTCOMES_STORE=redis://{name}:{password}@outcomes:6379/0\n"
        f"FAILSHUT_INSTALLATION={installation}\n",
    )


def users(installation: str, passwords: Mapping[str, str], services: Mapping[str, list[str]]) -> tuple[str, str]:
    """Return the users of the store of permits and of that of outcomes, as Redis and Valkey read them.

    The monitor reaches its own installation's names. A service reaches its own gates' alone. In the one store it reads records,
    fences and the seals, takes probe tokens and hears closings. In the other it appends outcomes. It writes no record.
    Viewers and operators read what screens show, of this installation. An operator may also remove a fence with its record.
    """
    names = Names(installation)
    everything = f"~failshut:{installation}:* &failshut:{installation}:* +@all -@admin -@dangerous +info"
    permits = ["user default off", f"user failshut on {_hashed(passwords['failshut'])} {everything}"]
    outcomes = list(permits)
    shown = f"~failshut:{installation}:* &failshut:{installation}:*".replace("~", "%R~")
    permits.append(f"user viewer on {_hashed(passwords['viewer'])} resetchannels {shown} {CONNECTION} {LOOKING}")
    cleared = " ".join(f"~failshut:{installation}:{{*}}:{what}" for what in ("fence", "record"))
    permits.append(
        f"user operator on {_hashed(passwords['operator'])} resetchannels {shown} {cleared} {CONNECTION} {LOOKING} {CLEARING}"
    )
    for name, gates in sorted(services.items()):
        head = f"user {name} on {_hashed(passwords[name])}"
        records = " ".join(f"%R~{names.record(gate)} %R~{names.fence(gate)}" for gate in gates) + f" %R~{names.seals}"
        probes = " ".join(f"~{names.probes(gate)}" for gate in gates)
        streams = " ".join(f"~{names.outcomes(gate)}" for gate in gates)
        permits.append(f"{head} {records} {probes} resetchannels &{names.push} {CONNECTION} {READING}")
        outcomes.append(f"{head} {streams} resetchannels {CONNECTION} +xadd")
    return "\n".join(permits) + "\n", "\n".join(outcomes) + "\n"


def _hashed(password: str) -> str:
    return "#" + hashlib.sha256(password.encode()).hexdigest()


def write_users(folder: Path) -> None:
    """Write both stores' users anew, as services.txt says now."""
    installation = (folder / "keys" / "installation").read_text().strip()
    services = read_services(folder / "services.txt" if (folder / "services.txt").exists() else HERE / "services.txt")
    environment = dict(line.split("=", 1) for line in (folder / ".env").read_text().splitlines())
    passwords = {name: environment[f"REDIS_{name.upper()}_PASSWORD"] for name in ("failshut", *PEOPLE)}
    for name in services:
        path = folder / "keys" / "services" / f"{name}.env"
        write_service(path, name, installation)
        passwords[name] = path.read_text().split(":", 2)[2].partition("@")[0]
    stores = folder / "keys" / "stores"
    stores.mkdir(mode=0o755, parents=True, exist_ok=True)
    for file, text in zip(("redis.acl", "outcomes.acl"), users(installation, passwords, services), strict=True):
        # Passwords stand there as digests alone, and the stores' own user must read the file.
        (stores / file).write_text(text)
        (stores / file).chmod(0o644)


def main(folder: Path = HERE) -> None:
    """Make what is missing and say what was made."""
    # The container's user must be able to read the key: ours if we are somebody, the image's if we are root.
    uid = os.geteuid() or IMAGE_UID
    keys = folder / "keys"
    monitor, operator = keys / "worker" / "monitor.pem", keys / "operator.pem"
    named = write_new(keys / "installation", new_installation() + "\n", 0o644)
    installation = (keys / "installation").read_text().strip()
    for made, path in (
        (write_environment(folder / ".env", uid, installation), folder / ".env"),
        (named, keys / "installation"),
        (write_key(monitor, keys / "worker" / "monitor.jwks.json", uid, installation), monitor),
        (write_key(operator, keys / "worker" / "operators.jwks.json", os.geteuid()), operator),
    ):
        print(f"{'wrote' if made else 'kept '} {path}")
    write_users(folder)
    print(f"wrote {keys / 'stores'}: a user for each service of services.txt; their passwords: {keys / 'services'}")
    print("Next: docker compose -f docker/compose.yaml up --build --wait (docker/README.md)")


if __name__ == "__main__":
    main()
