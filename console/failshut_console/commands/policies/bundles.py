"""What commands about bundles share: reading a folder or a signed bundle, and saying what is wrong with a policy."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import typer

from failshut_console.exits import Exit, Trouble

if TYPE_CHECKING:
    from failshut_console.checks import Checked
    from failshut_console.local.bundle_file import BundleFile


def read_bundle(source: Path, means: str) -> BundleFile:
    """Return what a folder of policies or a signed bundle holds; a folder's has no signature and the version 1.

    Raises:
        Trouble: it cannot be read, or holds nothing. `means` is what that means.
    """
    from failshut_console.checks import policy_files, read_files
    from failshut_console.local.bundle_file import BadBundle, BundleFile, bundle_of

    try:
        if source.is_file():
            return BundleFile.read(source)
        files = read_files(policy_files(source))
    except (OSError, BadBundle) as error:
        raise Trouble(
            f"the policies in {source} cannot be read: {error}", means, "name a folder, or a signed bundle"
        ) from error
    if not files:
        raise Trouble(
            f"{source} holds no policy (*.yaml)", f"{means}: an empty bundle would close every gate", "name another DIR"
        )
    return bundle_of(1, files, [])


def refuse_bad(source: Path, bundle: BundleFile, means: str, force: bool) -> None:
    """Say which policies of a bundle are bad, and end there unless `force` is set."""
    from failshut_console.checks import check_text, check_together

    checked = [check_text(str(source / file), text) for file, text in sorted(bundle.files.items())]
    bad = [item for item in check_together(checked) if not item.good]
    for item in bad:
        tell_checked(item)
    if bad and not force:
        typer.echo(f"{means}; --even-bad does it all the same, and closes those gates", err=True)
        raise typer.Exit(Exit.REFUSED)


def tell_checked(item: Checked) -> None:
    """Say what was found in one policy."""
    if item.policy is not None:
        count = len(item.policy.conditions)
        reset = item.policy.reset
        comes_back = f"may prove itself {reset.after / 1000:g} s after a trip" if reset.after else "only an operator resets it"
        said = "" if "in_flight" in item.policy.model_fields_set else " by default"
        ends = "cancels what runs" if item.policy.in_flight == "cancel" else "lets what runs finish"
        running = f"a closing {ends} (in_flight: {item.policy.in_flight}{said})"
        typer.echo(
            f"{item.file}: good. {item.gate}: {count} condition{'s' * (count != 1)}, trips on {item.policy.trip_on}, "
            f"permits live {item.policy.permit.ttl / 1000:g} s, {comes_back}, {running}"
        )
        if item.policy.in_shadow:
            typer.echo(f"{item.file}: mode {item.policy.mode}: it decides and says so, and withholds nothing by itself")
        for warning in item.warnings:
            typer.echo(f"{item.file}:{warning.line}: warning: {warning.why}")
        return
    for fault in item.faults:
        line = f":{fault.line}" if fault.line else ""
        typer.echo(f"{item.file}{line}: {fault.where}: {fault.why}", err=True)
    whom = f"its gate {item.gate} would be closed (bad_policy)" if item.gate else "it names no gate, so no gate opens by it"
    typer.echo(f"{item.file}: bad: if it were activated, {whom}", err=True)
