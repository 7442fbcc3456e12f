"""The hub: what members see of one another, and how one takes an idea of another over.

Every answer is read from the ledger and from what members sent. Scores are shown and never copied: what is adopted, its adopter
evaluates anew. Only commits that a member sent and tested are handed out, and none that holds what the station itself never runs.
"""

from __future__ import annotations

import tarfile
from collections import Counter, OrderedDict
from pathlib import Path
from typing import Any

from autoenvbench.errors import UserError
from autoenvbench.record.candidates import Candidate
from autoenvbench.record.events import CommitEvent, EvaluationEvent, LookEvent, NoteEvent
from autoenvbench.record.idea_book import IdeaRecord
from autoenvbench.record.ledger import Ledger
from autoenvbench.record.state import Follower, RunState
from autoenvbench.record.summary import wilson
from autoenvbench.record.text_limits import MAX_DIFF
from autoenvbench.station.answers import best_of
from autoenvbench.station.bundles import MAX_STORE, Bundle, BundleStore, bundle_digest, on_disk
from autoenvbench.station.config import ADMIN, StationConfig
from autoenvbench.station.ideas import ALONE, require_idea
from autoenvbench.station.provenance import Provenance
from autoenvbench.text import visible

LOOK_EVERY_S = 10.0  # of research time: looking at the same thing again within it is one look
MAX_LOOKS = 2000  # of a member that are recorded
MAX_COMMITS = 20  # of an idea that are shown, the newest ones
_DIFF_CPU_S, _DIFF_WALL_S = 5, 10.0
_LISTING = 16 << 20  # bytes
_KEPT = 64  # answers of Git that are kept, since they cannot change


class Hub:
    """What one member may know and have of the others."""

    def __init__(self, station: StationConfig, record: Follower, ledger: Ledger, bundles: BundleStore) -> None:
        self._station, self._config, self._record, self._ledger = station, station.config, record, ledger
        self._bundles = bundles
        self._provenance = Provenance(bundles.objects, bundles.objects.path.with_name("origins.tsv"))
        self._diffs = OrderedDict[tuple[str, str], str]()
        self._took = Counter[str]()  # bytes of disk, by member
        with record.read() as state:
            for member, digest in state.book.digests:
                if member is not None and (known := bundles.get(digest)) is not None:
                    self._took[member] += on_disk(known.path)

    def receive(self, agent: str, archive: Path, commit: str) -> Bundle:
        """Take in an upload (see `BundleStore.receive`), and find out what it has from other members. Raises UserError."""
        share = MAX_STORE // max(len(self._station.members), 1)
        if agent != ADMIN and self._took[agent] > share:
            raise UserError(
                f"your commits and checkpoints take over {share >> 20} MB, which is your share of this run; no more are taken in"
            )
        before = self._bundles.used  # uploads are received one after the other
        try:
            bundle = self._bundles.receive(archive, commit)
        finally:
            self._took[agent] += self._bundles.used - before
        history = self._provenance.look(commit)
        received = CommitEvent(
            phase="received", commit=commit, digest=bundle.digest, content=bundle.content, subject=bundle.subject
        )
        with self._record.read() as state:
            first = agent != ADMIN and (agent, commit) not in state.book.provenance
            event = self._provenance.of(agent, bundle.content, history, state.book)
            self._provenance.remember(agent, history)
            self._ledger.append(received, agent=agent)
            if first:
                self._ledger.append(event, agent=agent)
        if first and history.trouble:
            self._ledger.append(NoteEvent(text=f"{agent}: {history.trouble}"))
        if agent != ADMIN:
            self._bundles.objects.move(agent, commit)
        return bundle

    # -- what others do ----------------------------------------------------------------------------------------------
    def peers(self, agent: str) -> list[dict[str, Any]]:
        """Each member with its newest idea, its confirmed best and its robot time [s]. Raises UserError where members work alone."""
        self._require_sharing()
        with self._record.read() as state:
            rows = [self._member(state, member) | {"you": member == agent} for member in self._station.members]
        self._look(agent, "peers", None)
        return rows

    def _member(self, state: RunState, member: str) -> dict[str, Any]:
        newest = state.book.newest.get(member)
        best = best_of(state.of_member(member).confirmed)
        idea = state.book.tested.get((member, best["commit"])) if best else None
        return {
            "agent": member,
            "newest_idea": None if newest is None else {"id": newest, "title": state.ideas[newest].title},
            "ideas": state.book.words[member, "idea"],
            "best": best,
            "best_idea": idea,
            "robot_s": round(state.book.robot_s[member], 1),
        }

    def show(self, agent: str, idea: str, *, diff: bool = True) -> dict[str, Any]:
        """An idea with all that is known of it: author, parents, tests, what it taught, and its changes against its parent idea or the
        starter, cut to MAX_DIFF characters. Raises UserError."""
        with self._record.read() as state:
            record = self._visible(state, agent, idea)
            chosen = _to_adopt(record, state)
            told = _told(record, state)
            base, against = self._base(record, state)
            if chosen is not None and diff and base != chosen.commit:
                told |= {"against": against}
        self._look(agent, "show", idea)
        if "against" in told and chosen is not None:
            told["diff"] = self._diff(base, chosen.commit)
        return told

    def _base(self, record: IdeaRecord, state: RunState) -> tuple[str, str]:
        """What an idea's changes are shown against: (commit, what it is)."""
        parent = state.book.ideas.get(record.event.parent or "")
        tested = None if parent is None else _to_adopt(parent, state)
        if parent is not None and tested is not None:
            return tested.commit, parent.event.id
        starter = next((commit for commit, by in state.book.sent.items() if ADMIN in by), None)
        return (
            (starter, "the starter") if starter else ("4b825dc642cb6eb9a060e54bf8d69288fbee4904", "nothing")
        )  # an empty tree

    def _diff(self, base: str, commit: str) -> str:
        if (base, commit) not in self._diffs:
            text = self._bundles.objects.git(
                "diff-tree", "-r", "-p", "--stat=100", "--no-ext-diff", "--no-textconv", "--no-renames", "--no-color", base,
                commit, said=4 * MAX_DIFF, cpu_s=_DIFF_CPU_S, wall_s=_DIFF_WALL_S, cut=True,
            )  # fmt: skip
            self._diffs[base, commit] = visible(text, lines=True)[: MAX_DIFF + 1]
            if len(self._diffs) > _KEPT:
                self._diffs.popitem(last=False)
        return self._diffs[base, commit]

    # -- taking an idea over -----------------------------------------------------------------------------------------
    def adopt(self, agent: str, idea: str) -> dict[str, Any]:
        """Which commit an idea's adopter takes over: the one with the best confirmation, or else the one that was tested last. Raises
        UserError."""
        self._require_sharing()
        with self._record.read() as state:
            record = self._visible(state, agent, idea)
            chosen = _to_adopt(record, state)
        if record.agent == agent:
            raise UserError(f"{idea} is yours; there is nothing to adopt. aeb peers lists what others do")
        if chosen is None:
            raise UserError(
                f"nothing of {idea} has been tested yet, so there is nothing to adopt; aeb show {idea} says how it stands"
            )
        self._require_plain(chosen.commit)
        self._look(agent, "adopt", idea)
        bundle = self._bundles.get(chosen.digest)
        return {
            "idea": idea, "title": record.event.title, "agent": record.agent, "commit": chosen.commit, "digest": chosen.digest,
            "subject": "" if bundle is None else bundle.subject, "checkpoints": self._checkpoints(chosen.digest) is not None,
        }  # fmt: skip

    def commit(self, commit: str, into: Path) -> None:
        """A commit that a member sent and tested, with its history, as a Git bundle. Raises UserError for any other."""
        self._require_sharing()
        with self._record.read() as state:
            tested = any((member, commit) in state.book.tested for member in self._station.members)
        if not tested:
            raise UserError(f"no member of this run has tested a commit {commit[:40]}; aeb adopt I7 takes an idea over")
        self._require_plain(commit)
        self._bundles.objects.pack(commit, into)

    def checkpoints(self, digest: str, into: Path) -> None:
        """The checkpoints of such a commit, as a tar of checkpoints/... Raises UserError where it has none."""
        self._require_sharing()
        bundle = self._bundles.get(digest)
        with self._record.read() as state:
            known = bundle is not None and any(
                (member, digest) in state.book.digests and (member, bundle.commit) in state.book.tested
                for member in self._station.members
            )
        folder = self._checkpoints(digest) if known else None
        if folder is None:
            raise UserError("no member of this run has tested a commit with these checkpoints")
        with tarfile.open(into, "w") as tar:
            tar.add(folder, "checkpoints", filter=lambda m: m if m.isfile() or m.isdir() else None)

    def _checkpoints(self, digest: str) -> Path | None:
        """What came beside a commit, and is not a part of it; None where nothing did. Raises UserError where it is not what it was."""
        bundle = self._bundles.get(digest)
        if bundle is None or bundle_digest(bundle.commit, Path("/nonexistent")) == digest:
            return None
        folder = bundle.path / "checkpoints"
        if bundle_digest(bundle.commit, folder) != digest:
            raise UserError(
                "the checkpoints that came with this commit are no longer what was tested; they are not handed out"
            )
        return folder

    def _require_plain(self, commit: str) -> None:
        """Raises UserError for a commit with links or submodules: the station leaves them out of what it runs, so that nobody tested them."""
        listing = self._bundles.objects.git("ls-tree", "-r", "-z", "--full-tree", commit, said=_LISTING)
        for row in listing.split("\0"):
            mode, _, rest = row.partition(" ")
            if mode in ("120000", "160000"):
                what = "a symbolic link" if mode == "120000" else "a submodule"
                raise UserError(
                    f"{commit[:12]} holds {what} ({visible(rest.partition(chr(9))[2])[:80]}), which the station never ran; it is not handed out"
                )

    # -- parts -------------------------------------------------------------------------------------------------------
    def sees(self, agent: str, other: str | None) -> bool:
        """Whether a client may know what another member does."""
        return self._config.sharing or agent in (other, ADMIN)

    def _require_sharing(self) -> None:
        if not self._config.sharing:
            raise UserError(ALONE)

    def _visible(self, state: RunState, agent: str, idea: str) -> IdeaRecord:
        """Raises UserError for an idea that is not there, or another's where members work alone."""
        if not self._config.sharing and (idea not in state.ideas or state.book.author(idea) != agent):
            raise UserError(ALONE)
        return state.book.ideas[require_idea(idea, state)]

    def _look(self, agent: str, what: Any, idea: str | None) -> None:
        """Record that a member looked; looking again at once, or without end, is not recorded anew."""
        assert self._ledger.clock is not None
        with self._record.read() as state:
            last = state.book.looks.get((agent, what, idea))
            again = last is not None and self._ledger.clock.elapsed() - last < LOOK_EVERY_S
            if not again and state.book.words[agent, "look"] < MAX_LOOKS:
                self._ledger.append(LookEvent(what=what, idea=idea), agent=agent)


def _confirmed(record: IdeaRecord, state: RunState, test: EvaluationEvent) -> Candidate | None:
    """What is known of a test's files by their member's own confirmation; None where that is not complete."""
    own = state.of_member(record.agent or "").candidates
    candidate = own.known.get(test.content or test.digest)
    return candidate if candidate is not None and own.confirmed(candidate) else None


def _to_adopt(record: IdeaRecord, state: RunState) -> EvaluationEvent | None:
    """Of an idea's tests, the one whose commit its adopter takes: the best confirmed one, or else the last. None without any."""
    confirmed = [(c.rate, test) for test in record.evaluations if (c := _confirmed(record, state, test)) is not None]
    if confirmed:
        return max(confirmed, key=lambda pair: pair[0])[1]
    return record.evaluations[-1] if record.evaluations else None


def _told(record: IdeaRecord, state: RunState) -> dict[str, Any]:
    """An idea in JSON, without its changes."""
    commits: dict[str, dict[str, Any]] = {}
    for test in record.evaluations:
        row = commits.setdefault(test.commit, {"commit": test.commit, "evaluations": []})
        row["evaluations"].append(test.model_dump(include={"id", "purpose", "successes", "episodes"}))
        found = state.book.provenance.get((record.agent, test.commit))
        row["sources"] = [source.model_dump() for source in found.sources] if found else []
        row["confirmed"] = None
        if (c := _confirmed(record, state, test)) is not None:
            low, high = wilson(c.counted_wins, c.counted)
            row["confirmed"] = {
                "success_rate": round(c.rate, 4), "wilson95": [round(low, 4), round(high, 4)], "episodes": c.counted
            }  # fmt: skip
    event, chosen = record.event, _to_adopt(record, state)
    return {
        "id": event.id, "title": event.title, "agent": record.agent, "t_run": round(record.t_run, 1), "regime": event.regime,
        "parent": event.parent, "inspired_by": event.inspired_by, "learned": record.learned, "commits": list(commits.values())[-MAX_COMMITS:],
        "commit": chosen.commit if chosen else None,
    }  # fmt: skip
