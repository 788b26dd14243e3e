"""All commands in one place: what there is, in the order in which a newcomer meets it."""

from __future__ import annotations

import logging

import typer

from failshut_console.commands import detectors, policy
from failshut_console.commands.demo import demo
from failshut_console.commands.gates import gates
from failshut_console.commands.keys import keys_group
from failshut_console.commands.orders.accept import accept
from failshut_console.commands.orders.bypass import bypass
from failshut_console.commands.orders.confirm import confirm
from failshut_console.commands.orders.fence import fence_group
from failshut_console.commands.orders.gap import gap_group
from failshut_console.commands.orders.hold import hold
from failshut_console.commands.orders.lock import lock
from failshut_console.commands.orders.reset import reset
from failshut_console.commands.orders.unlock import unlock
from failshut_console.commands.recordings.compare import compare
from failshut_console.commands.recordings.record import record
from failshut_console.commands.recordings.replay import replay
from failshut_console.commands.recordings.report import report
from failshut_console.commands.recordings.score import score
from failshut_console.commands.recordings.tune import tune
from failshut_console.commands.run import run
from failshut_console.commands.term import term_group
from failshut_console.commands.up import up
from failshut_console.commands.watch import watch
from failshut_console.connection_options import reaching
from failshut_console.exits import HELP
from failshut_console.redaction import RedactingGroup

# A client library's own lines about a broker that is away would drown ours, which say what it means.
logging.getLogger("aiokafka").setLevel(logging.CRITICAL)

app = typer.Typer(
    name="failshut",
    cls=RedactingGroup,
    help="Failshut keeps an execution gate open only while it can prove that it should be.\n\n"
    "Start with `failshut demo` to see it work, or `failshut up` to have a monitor on this machine. `failshut gates` and "
    "`failshut watch` show what each gate does and why. "
    "`lock`, `unlock`, `reset` and `bypass` are an operator's signed commands.\n\n" + HELP,
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    rich_markup_mode="markdown",
    context_settings={"help_option_names": ["-h", "--help"]},
)

app.command("demo")(demo)
app.command("up")(up)
app.command("run")(reaching(run))
app.command("gates")(reaching(gates))
app.command("watch")(reaching(watch))
app.command("lock")(reaching(lock))
app.command("unlock")(reaching(unlock))
app.command("hold", hidden=True)(reaching(hold))
app.command("reset")(reaching(reset))
app.command("bypass")(reaching(bypass))
app.command("accept")(reaching(accept))
app.command("confirm")(reaching(confirm))
for command in (record, replay, compare, score, report, tune):
    app.command(command.__name__)(reaching(command))
app.add_typer(policy.group, name="policy")
app.add_typer(detectors.group, name="detectors")
app.add_typer(keys_group, name="keys")
app.add_typer(term_group, name="term")
app.add_typer(gap_group, name="gap")
app.add_typer(fence_group, name="fence")
