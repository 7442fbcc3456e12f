"""Searches the pages on methods in a workspace, without a network: `aeb literature WORDS`."""

from __future__ import annotations

import math
import re
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from autoenvbench.errors import UserError

FOLDER = "literature"
MOST = 5  # sections that are shown
_LONGEST = 1 << 20  # bytes of a page
_SATURATION, _TITLE = 1.5, 3.0  # how soon further mentions of a word say nothing new; what one in a heading is worth


@dataclass(frozen=True, slots=True)
class Section:
    """What stands under one heading of a page. `page`: its path in the workspace; `title` of the page, `heading` of the section."""

    page: str
    title: str
    heading: str
    text: str


def sections(workspace: Path) -> list[Section]:
    """Every section of every page, in order; of a page's first lines too. Raises UserError where there is no page."""
    found = [
        section for path in sorted((workspace / FOLDER).glob("*.md")) for section in _of(path, f"{FOLDER}/{path.name}")
    ]
    if not found:
        raise UserError(
            f"there are no pages in {FOLDER}/; bring those of the first commit back with "
            f"`git checkout $(git rev-list --max-parents=0 HEAD) -- {FOLDER}`"
        )
    return found


def _of(path: Path, name: str) -> Iterator[Section]:
    with path.open(errors="replace") as file:
        head, *rest = re.split(r"^## +", file.read(_LONGEST), flags=re.MULTILINE)
    title, _, text = head.lstrip("# ").partition("\n")
    yield Section(name, title.strip(), "", text.strip())
    for part in rest:
        heading, _, text = part.partition("\n")
        yield Section(name, title.strip(), heading.strip(), text.strip())


def search(known: list[Section], query: str) -> list[Section]:
    """The sections that say most about the words of `query`, best first.

    A word counts by how rare it is among the sections (BM25's saturation, Robertson and Zaragoza 2009), and more in a heading; one also
    meets longer ones that begin with it. None for a query of which no word occurs.
    """
    words = [_words(f"{s.title} {s.heading} {s.text}") for s in known]
    headings = [_words(f"{s.title} {s.heading} {Path(s.page).stem}") for s in known]
    scores = [0.0] * len(known)
    for word in dict.fromkeys(_words(query)):
        mentions = [_mentions(word, counted) for counted in words]
        rarity = math.log(1 + len(known) / (1 + sum(n > 0 for n in mentions)))
        for k, n in enumerate(mentions):
            in_heading = _TITLE if _mentions(word, headings[k]) else 0.0
            scores[k] += rarity * (n * (1 + _SATURATION) / (n + _SATURATION) + in_heading)
    best = sorted(range(len(known)), key=lambda k: -scores[k])[:MOST]
    return [known[k] for k in best if scores[k] > 0]


def _words(text: str) -> Counter[str]:
    return Counter(re.findall(r"[a-z0-9]+", text.lower()))


def _mentions(word: str, counted: Counter[str]) -> int:
    """How often it occurs, in longer words too where it has three letters or more."""
    if len(word) < 3:
        return counted[word]
    return sum(n for other, n in counted.items() if other.startswith(word))
