"""All commands in one place: what there is, in the order in which a newcomer meets it."""

from __future__ import annotations

import logging

import typer

from failshut_console.commands import detectors, look, orders, policy, replaying
from failshut_console.commands.demonstrate import demo
from failshut_console.commands.keys import keys_group, term_group
from failshut_console.commands.repairs import fence_group, gap_group
from failshut_console.commands.serve import run, up
from failshut_console.exits import HELP
from failshut_console.reaching import reaching
from failshut_console.redacting import RedactingGroup

# A client library's own lines about a broker that is away would drown ours, which say what it means.
logging.getLogger("aiokafka").setLevel(logging.CRITICAL)

app = typer.Typer(
    name="failshut",
    cls=RedactingGroup,
    help="Failshut keeps an execution gate open only while it can prove that it should be.\n\n"
    "Start with `failshut demo` to see it work, or `failshut up` to have a monitor on this machine. `failshut gates` and "
    "`failshut watch` show what each gate does and why. `hold`, `reset` and `bypass` are an operator's signed commands.\n\n"
    + HELP,
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    rich_markup_mode="markdown",
    context_settings={"help_option_names": ["-h", "--help"]},
)

app.command("demo")(demo)
app.command("up")(up)
app.command("run")(reaching(run))
app.command("gates")(reaching(look.gates))
app.command("watch")(reaching(look.watch))
app.command("hold")(reaching(orders.hold))
app.command("reset")(reaching(orders.reset))
app.command("bypass")(reaching(orders.bypass))
app.command("accept")(reaching(orders.accept))
app.command("confirm")(reaching(orders.confirm))
for command in (replaying.record, replaying.replay, replaying.compare, replaying.score, replaying.report, replaying.tune):
    app.command(command.__name__)(reaching(command))
app.add_typer(policy.group, name="policy")
app.add_typer(detectors.group, name="detectors")
app.add_typer(keys_group, name="keys")
app.add_typer(term_group, name="term")
app.add_typer(gap_group, name="gap")
app.add_typer(fence_group, name="fence")
