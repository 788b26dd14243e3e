"""All commands in one place: what there is, in the order in which a newcomer meets it."""

from __future__ import annotations

import logging
from typing import Annotated

import typer

from failshut_console.exits import HELP
from failshut_console.lazy_commands import Lazy, lazy_group

# A client library's own lines about a broker that is away would drown ours, which say what it means.
logging.getLogger("aiokafka").setLevel(logging.CRITICAL)

#: Where each stands below commands/, and the first paragraph of its help.
COMMANDS = (
    Lazy(
        "demo",
        "demo:demo",
        "See it work: a monitor, three services behind guards, and six kinds of trouble, one at a time.",
    ),
    Lazy(
        "up",
        "up:up",
        "Run a monitor on this machine: an embedded Apache Kafka and Valkey, one worker and a gateway. For one machine only.",
    ),
    Lazy(
        "run",
        "run:run",
        "Run one worker of many: router and governor in one process, on a Kafka and a store of your own.",
    ),
    Lazy(
        "serve",
        "serve:serve",
        "Serve gates over HTTP: forward auth for proxies, AuthZEN, executions, a web console. Whatever fails is a denial.",
    ),
    Lazy(
        "gates",
        "gates:gates",
        "Show every gate once: OPEN or CLOSED as a guard would judge it, its breaker, why, and the permit's remaining life.",
    ),
    Lazy(
        "watch",
        "watch:watch",
        "Show the gates live until Ctrl-C. If standard output is no terminal, print one line for each change.",
    ),
    Lazy(
        "log",
        "log:log",
        "Show what happened to each gate, the newest last: opened, closed, probing, locked, bypassed, policy activated.",
    ),
    Lazy(
        "notify",
        "telling.notify:group",
        "Tell people and systems of each closing and opening: webhooks, Slack, PagerDuty, Alertmanager, mail, a topic.",
    ),
    Lazy(
        "shadow",
        "shadow:group",
        "Gates whose policy says `mode: shadow`: they decide, and withhold nothing.",
    ),
    Lazy(
        "lock",
        "orders.lock:lock",
        "Close a gate until an operator unlocks it. Nothing else reopens it: no cooldown, no fresh evidence, no bypass.",
    ),
    Lazy(
        "unlock",
        "orders.unlock:unlock",
        "Let a locked breaker prove itself. It answers one closing, by its epoch; a later lock or demand voids it.",
    ),
    Lazy(
        "hold",
        "orders.hold:hold",
        "Close a gate until an operator unlocks it. Nothing else reopens it: no cooldown, no fresh evidence, no bypass.",
        hidden=True,
    ),
    Lazy(
        "reset",
        "orders.reset:reset",
        "Let a tripped or locked breaker prove itself. A reset answers one closing, by its epoch; a later demand voids it.",
    ),
    Lazy(
        "bypass",
        "orders.bypass:bypass",
        "Keep a gate open against the demands of named conditions, for a limited time, by name and with a reason.",
    ),
    Lazy(
        "accept",
        "orders.accept:accept",
        "Accept a condition's present level as normal from now on. Its demand ends, and it learns its present readings.",
    ),
    Lazy(
        "confirm",
        "orders.confirm:confirm",
        "Confirm that a trip had a cause, so that it does not count against its condition's budget of false trips.",
    ),
    Lazy(
        "record",
        "recordings.record:record",
        "Record an incident: evidence from the log's beginning up to --to, the policies in it, and the decisions.",
    ),
    Lazy(
        "replay",
        "recordings.replay:replay",
        "Replay a recording through the governor that runs live, in virtual time.",
    ),
    Lazy(
        "compare",
        "recordings.compare:compare",
        "Compare two policies on the same recordings, or one with the recorded decisions: which gates, when, why.",
    ),
    Lazy(
        "try",
        "recordings.try_series:try_series",
        "Try a series: what a gate would have done on it, which incidents it would hear, and three lines of policy to paste.",
    ),
    Lazy(
        "score",
        "recordings.score:score",
        "Score recordings against their labels: incidents missed, delay, false trips a week, time closed without cause.",
    ),
    Lazy(
        "report",
        "recordings.report:report",
        "Write one self-contained HTML file about a recording: timeline, tables, scores, policies. It prints well.",
    ),
    Lazy(
        "tune",
        "recordings.tune:tune",
        "Tune a policy's detectors and parameters against labelled incidents, and score the choice on held-out ones.",
    ),
    Lazy(
        "ledger",
        "ledger.ledger:group",
        "The ledger: a tamper-evident log of every decision, which others verify with a public key alone.",
    ),
    Lazy(
        "proof",
        "ledger.proof:proof",
        "Write the proof of one decision: the signed decision, its place in the ledger, and the signed checkpoint.",
    ),
    Lazy(
        "verify",
        "ledger.verify:verify",
        "Verify the proof of one decision, offline: what was decided, on which evidence, under which policy, and by whose key.",
    ),
    Lazy(
        "witness",
        "ledger.witness:group",
        "A witness: it cosigns somebody else's log, and never two trees of it that do not continue each other.",
    ),
    Lazy(
        "policy",
        "policies.policy:group",
        "Policies: which conditions a gate has, and what each does. One YAML file for one gate; a folder of them is a bundle.",
    ),
    Lazy(
        "detectors",
        "detectors:group",
        "Show every detector that a policy may ask for: its condition, its parameters, and what it detects.",
    ),
    Lazy(
        "keys",
        "keys:group",
        "Keys: the monitor's signs permits, an operator's signs commands, a policy key signs policies. All are Ed25519.",
    ),
    Lazy(
        "authority",
        "policies.authority:group",
        "The policy authority: policy keys, without whose signatures no operator puts a policy in force.",
    ),
    Lazy(
        "operators",
        "operators:group",
        "Operators: whose commands count. A file of public keys, which every worker reads and follows.",
    ),
    Lazy(
        "access",
        "access:group",
        "Access keys: who may ask the HTTP gateway, for which subjects and gates, and until when.",
    ),
    Lazy(
        "term",
        "term:group",
        "Terms of the evidence log. Open the first one once, and the next only if a log was lost or replaced.",
    ),
    Lazy(
        "gap",
        "orders.gap:group",
        "Gaps: evidence that was never seen. While there is one, evidence time stops and gates lapse.",
    ),
    Lazy(
        "fence",
        "orders.fence:group",
        "Fences: the epoch that the store holds for a gate. It refuses every write below that.",
    ),
)

app = typer.Typer(
    name="failshut",
    cls=lazy_group(COMMANDS),
    help="Failshut keeps an execution gate open only while it can prove that it should be.\n\n"
    "Start with `failshut demo` to see it work, or `failshut up` to have a monitor on this machine. `failshut gates` and "
    "`failshut watch` show what each gate does and why, `failshut log` what happened. "
    "`lock`, `unlock`, `reset` and `bypass` are an operator's signed commands.\n\n" + HELP,
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    rich_markup_mode="markdown",
    context_settings={"help_option_names": ["-h", "--help"]},
)


def _say_version(asked: bool) -> None:
    if asked:
        from importlib.metadata import version

        typer.echo(f"failshut {version('failshut')}")
        raise typer.Exit


@app.callback()
def _failshut(
    version: Annotated[
        bool, typer.Option("--version", is_eager=True, callback=_say_version, help="Show the version, and exit.")
    ] = False,
) -> None:
    """Take the options of `failshut` itself."""
