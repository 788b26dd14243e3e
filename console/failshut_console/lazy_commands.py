"""Commands that are imported when they are called: a list of names must not cost what the whole monitor does.

Typer builds every command before it reads the first argument, and some of ours bring Kafka's client, river and pyarrow. So the
group holds a stand-in for each: its name and the sentence that --help lists. Both help and completion ask for these alone. Who
calls a command, or asks for its own help or options, gets the real one, imported at that moment.

Limits: a stand-in's sentence stands in two places. tests/console/test_lazy_commands.py compares them.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from importlib import import_module
from typing import Any

import typer
from typer.core import TyperCommand

from failshut_console.redaction import RedactingGroup


@dataclass(frozen=True, slots=True)
class Lazy:
    """A command that is not imported yet.

    Args:
        name: as it is typed.
        place: module and attribute below failshut_console.commands: a function, or a `typer.Typer` with commands of its own.
        said: the first paragraph of its help, in one line.
        hidden: whether --help and completion leave it out.
    """

    name: str
    place: str
    said: str
    hidden: bool = False

    def stand_in(self) -> TyperCommand:
        """Return what --help and completion list."""
        return TyperCommand(self.name, help=self.said, hidden=self.hidden)

    def load(self) -> Any:
        """Return the command itself, as Typer builds it.

        Raises:
            ImportError: what it needs is not installed.
        """
        module, _, attribute = self.place.partition(":")
        found = getattr(import_module(f"failshut_console.commands.{module}"), attribute)
        holder = typer.Typer(add_completion=False, pretty_exceptions_enable=False, rich_markup_mode="markdown")
        holder.callback()(_nothing)  # with one, it is a group, however few commands it has
        if isinstance(found, typer.Typer):
            holder.add_typer(found, name=self.name, hidden=self.hidden)
        else:
            from failshut_console.connection_options import reaching

            holder.command(self.name, hidden=self.hidden)(reaching(found))
        return typer.main.get_command(holder).commands[self.name]  # type: ignore[attr-defined] # a group has them


def lazy_group(commands: Sequence[Lazy]) -> type[RedactingGroup]:
    """Return the class of a group of these commands, for `typer.Typer(cls=...)`."""

    class LazyGroup(RedactingGroup):
        """A group that imports a command when it is called."""

        def __init__(self, **settings: Any) -> None:
            super().__init__(**settings)
            self.commands.update({command.name: command.stand_in() for command in commands})

        def resolve_command(self, ctx: Any, args: list[str]) -> Any:
            """Find the command that the arguments name, and import it; None where completion asks for one that is not."""
            name, command, rest = super().resolve_command(ctx, args)
            return name, (_loaded(command) if command is not None else None), rest

    def _loaded(stand_in: Any) -> Any:
        return next(command for command in commands if command.name == stand_in.name).load()

    return LazyGroup


def _nothing() -> None:
    """Take no options: a group without any of its own."""
