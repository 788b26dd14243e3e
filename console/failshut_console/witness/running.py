"""Carries out the commands of a witness: create, add, list, run."""

from __future__ import annotations

import logging
import time
from pathlib import Path
from typing import Any

from failshut_console.exits import Exit, Trouble
from failshut_console.ledger.key_files import load_signer, load_verifier, make_key
from failshut_console.witness.service import WitnessService
from failshut_ledger.disk.witness_state import create_witness, open_witness, read_witness
from failshut_ledger.errors import LedgerError, Malformed
from failshut_ledger.notes.keys import COSIGNATURE, Signer

logger = logging.getLogger(__name__)

NOTHING_COSIGNED = "nothing is cosigned"


def create(folder: Path, key: Path, name: str) -> str:
    """Make a witness's folder, and its key where there is none; return its public key. Raises Trouble."""
    signer = _signer(key) if key.exists() else make_key(key, name, COSIGNATURE)
    if name and signer.verifier.name != name:
        raise Trouble(f"the key in {key} has the name {signer.verifier.name}", "no witness was made", "leave --name out")
    try:
        create_witness(folder)
    except LedgerError as error:
        raise witness_trouble(error) from error
    return str(signer.verifier)


def add(folder: Path, key: Path, log: str) -> bool:
    """Witness a log from now on, or know one more key of it; return whether that is new. Raises Trouble."""
    signer, verifier = _signer(key), load_verifier(log, "LOG")
    try:
        with open_witness(folder, [signer.verifier]) as state:
            return state.add(verifier)
    except Malformed as error:
        raise Trouble(str(error), "no log was added", "name an Ed25519 public key of the log: its line, or its file") from error
    except LedgerError as error:
        raise witness_trouble(error, "stop `failshut witness run` first") from error


def listed(folder: Path, key: Path) -> list[dict[str, Any]]:
    """Return each log with the last tree that was cosigned. Raises Trouble."""
    verifier = _signer(key).verifier
    try:
        logs = read_witness(folder, [verifier])
    except LedgerError as error:
        raise witness_trouble(error) from error
    return [
        {
            "origin": origin,
            "keys": [str(one) for one in log.keys],
            "size": log.last.size if log.last else None,
            "root": log.last.root.hex() if log.last else None,
        }
        for origin, log in sorted(logs.items())
    ]


def run(
    folder: Path, key: Path, place: tuple[str, int], *, cert: str = "", tls_key: str = "", connections_max: int = 64
) -> int:
    """Answer logs until SIGTERM or SIGINT; return how it ended. Raises Trouble where it cannot begin."""
    from failshut_gateway.server.server import GatewayServer, listen

    signer = _signer(key)
    try:
        with open_witness(folder, [signer.verifier]) as state:
            service = WitnessService(state, [signer])
            try:
                listener = listen(*place)
                server = GatewayServer(
                    service,
                    connections_max=connections_max,
                    stall_ms=10_000,
                    head_seconds_max=10.0,
                    cert=cert,
                    key=tls_key,
                )
                server.config.load()
            except (OSError, ValueError) as error:
                raise Trouble(f"the witness cannot listen: {error}", NOTHING_COSIGNED, "failshut witness run --help") from error
            where = f"{'https' if cert else 'http'}://{_shown(place[0])}:{listener.getsockname()[1]}"
            logger.info("the witness %s answers at %s for %d logs", signer.verifier.label, where, len(state.logs))
            began_s = time.monotonic()
            server.run(sockets=[listener])
            service.close()
            logger.info("stopped after %.0f s: %d cosignatures", time.monotonic() - began_s, service.cosigned)
            return Exit.REFUSED if server.failed else Exit.DONE
    except LedgerError as error:
        raise witness_trouble(error) from error


def witness_trouble(error: LedgerError, do: str = "") -> Trouble:
    """Return what is wrong with a witness as an error of a command."""
    return Trouble(str(error), NOTHING_COSIGNED, do, Exit.REFUSED)


def _signer(key: Path) -> Signer:
    signer = load_signer(key)
    if signer.verifier.kind != COSIGNATURE:
        what = f"{key} is no witness's key: its type is {signer.verifier.kind}"
        raise Trouble(what, NOTHING_COSIGNED, "name the key that `failshut witness create` made: --key")
    return signer


def _shown(host: str) -> str:
    return f"[{host}]" if ":" in host else host
