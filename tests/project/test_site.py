"""The documentation as a site, and as a list for machines: every page is there, and every link in it leads somewhere."""

from __future__ import annotations

import re
import shutil
import subprocess
from html.parser import HTMLParser
from pathlib import Path
from urllib.parse import unquote, urlsplit

import pytest
from patience import patient
from project.test_links import faults

ROOT = Path(__file__).resolve().parents[2]
ZENSICAL = ROOT / ".venv-site" / "bin" / "zensical"
#: Pages of one kind are in the list by their index alone.
BY_INDEX = ("decisions", "model", "trouble/causes")


class Page(HTMLParser):
    """What a page of the site links to and loads, and which names in it can be linked to."""

    def __init__(self, path: Path) -> None:
        super().__init__()
        self.links: list[str] = []
        self.loads: list[str] = []
        self.names: set[str] = set()
        self.feed(path.read_text(encoding="utf-8"))

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        found = dict(attrs)
        self.names.update(value for name in ("id", "name") if (value := found.get(name)))
        if tag == "a" and (link := found.get("href")):
            self.links.append(link)
        if tag in ("script", "img", "link") and (link := found.get("src") or found.get("href")):
            self.loads.append(link)


@pytest.mark.slow
def test_every_link_of_the_site_leads_somewhere(tmp_path: Path) -> None:
    """The site builds without a warning, loads nothing from elsewhere, and has each page of docs/."""
    if not ZENSICAL.exists():
        pytest.skip("zensical is not installed here (make site)")
    shutil.copytree(ROOT / "docs", tmp_path / "docs")  # it follows no link out of its folder
    (tmp_path / "zensical.toml").write_text((ROOT / "zensical.toml").read_text(encoding="utf-8"), encoding="utf-8")
    built = subprocess.run([ZENSICAL, "build", "--strict"], cwd=tmp_path, capture_output=True, text=True, timeout=patient(120))
    assert built.returncode == 0, built.stdout + built.stderr
    site = tmp_path / "build" / "site"
    pages = {path.resolve(): Page(path) for path in site.rglob("*.html")}
    wrong = []
    for path, page in pages.items():
        for link in page.links:
            parts = urlsplit(link)
            if parts.scheme or parts.netloc or path.name == "404.html":
                continue
            target = (path.parent / unquote(parts.path)).resolve() if parts.path else path
            target = target / "index.html" if target.is_dir() else target
            if not target.exists():
                wrong.append(f"{path.name}: {link}")
            elif parts.fragment and target in pages and unquote(parts.fragment) not in pages[target].names:
                wrong.append(f"{path.name}: {link} (no such name)")
        wrong += [f"{path.name} loads {one}" for one in page.loads if urlsplit(one).netloc and "canonical" not in one]
    assert not wrong, "\n".join(sorted(set(wrong)))
    for page_path in (ROOT / "docs").rglob("*.md"):
        place = page_path.relative_to(ROOT / "docs").with_suffix(".html")
        assert (site / (place.with_name("index.html") if place.name == "README.html" else place)).exists(), place


def test_the_list_for_machines_has_every_page() -> None:
    """In the form of llms.txt: a title, a summary, and sections of links, each with what is there."""
    text = (ROOT / "llms.txt").read_text(encoding="utf-8")
    assert text.startswith("# Failshut\n\n> ")
    assert faults("llms.txt", text) == []
    lines = [line for line in text.splitlines() if line.startswith("- ")]
    listed = [found[1] for line in lines if (found := re.fullmatch(r"- \[[^\]]+\]\(([^)]+)\): .+", line))]
    assert len(listed) == len(lines) == len(set(listed))
    docs = {path.relative_to(ROOT).as_posix() for path in (ROOT / "docs").rglob("*.md")} - {"docs/README.md"}
    kinds = tuple(f"docs/{kind}/" for kind in BY_INDEX)
    wanted = {one for one in docs if not one.startswith(kinds)} | {f"{kind}README.md" for kind in kinds}
    assert wanted <= set(listed), sorted(wanted - set(listed))
