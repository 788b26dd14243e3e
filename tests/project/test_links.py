"""Links of the documentation lead somewhere: to a file that is there, and to a heading that it has."""

from __future__ import annotations

import re
import subprocess
from functools import cache
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
LINK = re.compile(r"(?<!!)\[[^\]\n]+\]\(([^)\s]+)\)|!\[[^\]\n]*\]\(([^)\s]+)\)")
FENCE = re.compile(r"^ *(```|~~~).*?^ *\1", re.MULTILINE | re.DOTALL)
CODE = re.compile(r"`[^`\n]*`")
HEADING = re.compile(r"^#{1,6} +(.+?) *#*$", re.MULTILINE)


def pages() -> list[str]:
    """Every page of prose that is in the repository, or will be."""
    listed = subprocess.run(
        ["git", "ls-files", "--cached", "--others", "--exclude-standard", "*.md"], cwd=ROOT, capture_output=True, text=True
    )
    found = listed.stdout.splitlines() or [path.relative_to(ROOT).as_posix() for path in (ROOT / "docs").rglob("*.md")]
    return sorted(one for one in found if (ROOT / one).exists())


@cache
def anchors(path: Path) -> frozenset[str]:
    """The names under which a page's headings are linked to, as GitHub and the site make them."""
    found: list[str] = []
    for heading in HEADING.findall(FENCE.sub("", path.read_text(encoding="utf-8"))):
        text = re.sub(r"\[([^\]]*)\]\([^)]*\)", r"\1", heading).lower()
        name = re.sub(r"[^\w\- ]", "", text).strip().replace(" ", "-")
        found.append(name if name not in found else f"{name}-{found.count(name)}")
    return frozenset(found)


def faults(page: str, text: str) -> list[str]:
    """What is wrong with the links of a page."""
    wrong = []
    for one in LINK.findall(CODE.sub("", FENCE.sub("", text))):
        target = one[0] or one[1]
        if re.match(r"[a-z][a-z0-9+.-]*:", target):
            continue
        place, _, anchor = target.partition("#")
        path = (ROOT / page).parent / place if place else ROOT / page
        if not path.exists():
            wrong.append(f"{page} links to {target}, which is not there")
        elif anchor and path.suffix == ".md" and anchor not in anchors(path.resolve()):
            wrong.append(f"{page} links to {target}: the page has no such heading")
    return wrong


@pytest.mark.parametrize("page", pages())
def test_every_link_leads_somewhere(page: str) -> None:
    """Within the repository; what is elsewhere is not asked for."""
    assert faults(page, (ROOT / page).read_text(encoding="utf-8")) == []


def test_a_link_that_leads_nowhere_is_found() -> None:
    """To a file, and to a heading; in code nothing is a link."""
    text = "[a](nowhere.md) [b](policy.md#no-such-heading) [c](policy.md#lag) [d](https://example.org)\n`[e](x.md)`\n"
    assert faults("docs/README.md", f"{text}```\n[f](y.md)\n```\n") == [
        "docs/README.md links to nowhere.md, which is not there",
        "docs/README.md links to policy.md#no-such-heading: the page has no such heading",
    ]
