"""Pages: templates filled in, every value escaped."""

from __future__ import annotations

import hashlib
from importlib import resources
from typing import Any, Final

import jinja2

BUNDLE: Final = {"console.js": "text/javascript; charset=utf-8", "console.css": "text/css; charset=utf-8"}
ASSETS: Final = "/console/assets/"


class Assets:
    """The script and the style sheet, read once. Their names hold their hashes, so that browsers may keep them."""

    def __init__(self) -> None:
        self.by_path: dict[str, tuple[str, bytes]] = {}
        self.names: dict[str, str] = {}
        folder = resources.files("failshut_console.web").joinpath("bundle")
        for name, kind in BUNDLE.items():
            content = folder.joinpath(name).read_bytes()
            stem, _, ending = name.rpartition(".")
            path = f"{ASSETS}{stem}.{hashlib.sha256(content).hexdigest()[:16]}.{ending}"
            self.by_path[path] = kind, content
            self.names[name.replace(".", "_")] = path


class Pages:
    """The templates. What they are given stands in them as text, never as markup."""

    def __init__(self, assets: Assets) -> None:
        self._environment = jinja2.Environment(
            loader=jinja2.PackageLoader("failshut_console.web"),
            autoescape=True,
            undefined=jinja2.StrictUndefined,
            trim_blocks=True,
            lstrip_blocks=True,
        )
        self._environment.globals.update(assets.names)
        self.stranger_style: str = self._source("stranger.css")

    def render(self, name: str, **values: Any) -> str:
        """Return a page. Raises jinja2's errors: a page with a hole is not sent."""
        return self._environment.get_template(name).render(**values)

    def stranger(self, **values: Any) -> str:
        """Return the page of whoever has no session."""
        return self.render("stranger.html", style=self.stranger_style, **values)

    def _source(self, name: str) -> str:
        assert self._environment.loader is not None  # noqa: S101 - it was given above
        return self._environment.loader.get_source(self._environment, name)[0]
