"""What a commit has from other members, as its Git history shows: found when the station takes it in.

Whose a commit, a patch or a tree is, the station decides by who sent it first; nothing that a commit says of itself counts for more
than a declaration. All that is looked at is bounded, so that a hostile history costs a few seconds and hides nothing but itself.
"""

from __future__ import annotations

import re
from collections import Counter, deque
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal, NamedTuple

from autoenvbench.errors import UserError
from autoenvbench.record.events import Borrowed, ProvenanceEvent
from autoenvbench.record.idea_book import IdeaBook
from autoenvbench.station.config import ADMIN
from autoenvbench.station.objects import MAX_HISTORY, Objects

#: How a workspace says that it took an idea over, in the commit's message.
TRAILER = "Adopted"
MAX_NAMED = 20  # parents, and sources, of one event
_PATCHES = 200  # commits whose patches and messages are looked at, the nearest ones
_CPU_S, _WALL_S = 10, 30.0  # of one Git process, or one pipe of them
_LISTING = 8 << 20  # bytes of a history
_MESSAGES = 1 << 18  # bytes that are read of trailers
_MOST = 100_000  # entries of one member's in the list of origins
_DECLARED = re.compile(r"(I[0-9]{1,6}) ([0-9a-f]{40}) by ([a-z0-9-]{1,64})")


class Origin(NamedTuple):
    """Who was the first to send something, and with which of its commits."""

    agent: str
    commit: str


class Origins:
    """Whose each commit (c), patch (p) and tree (t) is that was ever sent. It is kept in a file, a line each, and outlives the station."""

    def __init__(self, path: Path) -> None:
        self._path, self._known, self._entries = path, dict[str, Origin](), Counter[str]()
        if path.exists():
            for line in path.read_text().splitlines():
                key, _, rest = line.partition("\t")
                agent, _, commit = rest.partition("\t")
                if len(commit) == 40:  # the last line of a station that was killed may be cut
                    self._remember(key, Origin(agent, commit))

    def __getitem__(self, key: str) -> Origin | None:
        return self._known.get(key)

    def add(self, keys: Sequence[str], origin: Origin) -> None:
        """These are from there, unless somebody sent them before."""
        new = [key for key in keys if key not in self._known]
        new = new[: max(0, _MOST - self._entries[origin.agent])]
        with self._path.open("a") as file:
            file.writelines(f"{key}\t{origin.agent}\t{origin.commit}\n" for key in new)
        for key in new:
            self._remember(key, origin)

    def _remember(self, key: str, origin: Origin) -> None:
        if self._known.setdefault(key, origin) is origin:
            self._entries[origin.agent] += 1


@dataclass(frozen=True, slots=True)
class History:
    """What Git shows of one commit.

    Attributes:
        new: commits behind it that nobody sent before, the nearest first; `known`: the nearest ones that somebody did.
        patches: of the new ones; `tree`: its own.
        declared: what the new ones say in their trailers: ideas, and whose commit each was.
        trouble: what could not be looked at, in words.
    """

    commit: str
    new: list[str]
    known: list[str]
    patches: list[str]
    tree: str
    declared: list[tuple[str, Origin]]
    trouble: str | None


class Provenance:
    """Finds what commits have from one another.

    Args:
        objects: the repository that holds them.
        origins: path of the file of origins.
    """

    def __init__(self, objects: Objects, origins: Path) -> None:
        self._objects, self._origins = objects, Origins(origins)

    def look(self, commit: str) -> History:
        """What Git shows of a commit that the station has just taken in. Raises UserError."""
        new, known = self._walk(commit)
        tree = self._git("rev-parse", f"{commit}^{{tree}}").strip()
        patches, trouble = list[str](), None
        try:
            patches = list(self._objects.patch_ids(new[:_PATCHES], cpu_s=_CPU_S, wall_s=_WALL_S).values())
        except UserError as error:
            trouble = f"the patches of {commit[:12]} could not be compared with those of others: {error}"
        return History(commit, new, known, patches, tree, self._declared(new[:_PATCHES]), trouble)

    def of(self, agent: str, content: str, history: History, book: IdeaBook) -> ProvenanceEvent:
        """What a member's commit has from others.

        Args:
            book: what the run knew before this commit.
        """
        sources, parents = dict[Origin, Borrowed](), dict[str, None]()

        def add(origin: Origin, idea: str | None, how: Literal["merge", "patch", "tree", "declared"]) -> None:
            borrowed = Borrowed(agent=origin.agent, commit=origin.commit, idea=idea, how=how)
            sources.setdefault(origin, borrowed)

        for commit in history.known:
            origin = self._origins[f"c{commit}"]
            if origin is None:
                continue
            if commit != history.commit:
                parents[commit if commit in book.sent else origin.commit] = None
            if origin.agent not in (agent, ADMIN) and agent not in book.sent.get(commit, {}):
                add(origin, book.tested.get(origin), "merge")
        for patch in history.patches:
            if (origin := self._origins[f"p{patch}"]) is not None and origin.agent not in (agent, ADMIN):
                add(origin, book.tested.get(origin), "patch")
        if (origin := self._origins[f"t{history.tree}"]) is not None and origin.agent not in (agent, ADMIN):
            add(origin, book.tested.get(origin), "tree")
        for idea, origin in history.declared:
            if (
                idea in book.ideas
                and book.author(idea) == origin.agent != agent
                and origin.agent in book.sent.get(origin.commit, {})
            ):
                add(origin, idea, "declared")
        return ProvenanceEvent(
            commit=history.commit, content=content, parents=list(parents)[:MAX_NAMED],
            sources=list(sources.values())[:MAX_NAMED],
        )  # fmt: skip

    def remember(self, agent: str, history: History) -> None:
        """From now on, what is new in this commit is this member's."""
        keys = [f"c{c}" for c in history.new] + [f"p{p}" for p in history.patches] + [f"t{history.tree}"]
        self._origins.add(keys, Origin(agent, history.commit))

    def _walk(self, head: str) -> tuple[list[str], list[str]]:
        """(commits that nobody sent before, the nearest ones that somebody did): from a commit back, the nearest first."""
        listing = self._git("rev-list", "--parents", f"--max-count={MAX_HISTORY}", head, said=_LISTING)
        before = {commit: parents for commit, *parents in (line.split() for line in listing.splitlines())}
        new, known, seen, ahead = list[str](), list[str](), {head}, deque([head])
        while ahead:
            commit = ahead.popleft()
            if self._origins[f"c{commit}"] is not None:
                known.append(commit)
                continue
            new.append(commit)
            for parent in before.get(commit, ()):
                if parent not in seen:
                    seen.add(parent)
                    ahead.append(parent)
        return new, known

    def _declared(self, commits: Sequence[str]) -> list[tuple[str, Origin]]:
        """What these commits say in their trailers: ideas, and whose commit each was."""
        if not commits:
            return []
        shown = f"--format=%(trailers:key={TRAILER},valueonly)"
        said = self._git(
            "log", "--no-walk=unsorted", "--stdin", shown, said=_MESSAGES, cut=True, stdin="\n".join(commits)
        )
        matches = (_DECLARED.fullmatch(line.strip()) for line in said.splitlines()[: 4 * _PATCHES])
        return [(match[1], Origin(match[3], match[2])) for match in matches if match]

    def _git(self, *args: str, said: int = 1 << 16, cut: bool = False, stdin: str = "") -> str:
        return self._objects.git(*args, said=said, cpu_s=_CPU_S, wall_s=_WALL_S, cut=cut, stdin=stdin)
