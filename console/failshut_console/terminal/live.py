"""A screen that is redrawn in place: no flicker, no scrolling, and the terminal as it was when it ends.

rich's Live does the drawing. It draws when we call it, and not in a thread of its own, so a picture never mixes two readings of
the store. The picture always has a minimum height, so rows do not jump.
"""

from __future__ import annotations

from collections.abc import Callable
from types import TracebackType
from typing import Self

from rich.console import Console, RenderableType
from rich.live import Live as RichLive
from rich.text import Text


class Live:
    """A live picture on standard output; does nothing where it is not enabled."""

    def __init__(self, enabled: bool, console: Console | None = None) -> None:
        self.enabled = enabled
        self.console = console or Console(highlight=False)
        self._live = RichLive(
            console=self.console, auto_refresh=False, transient=False, redirect_stdout=False, redirect_stderr=False
        )
        self._note = ""

    def __enter__(self) -> Self:
        if self.enabled:
            self._live.start()
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        if self.enabled:
            self._live.stop()

    def draw(self, picture: Callable[[int], RenderableType]) -> None:
        """Draw a picture that is made for the terminal's present width."""
        if self.enabled:
            self._live.update(picture(self.console.width), refresh=True)

    def say(self, line: str | Text) -> None:
        """Print a line that stays, above the picture."""
        self.console.print(line, soft_wrap=not self.enabled)

    def note(self, text: str) -> None:
        """Print a line below the picture, until another one."""
        self._note = text

    def notes(self) -> list[Text]:
        """Return the lines below the picture."""
        return [Text(self._note, "red")] if self._note else []
