"""What members write down: hypotheses, what these taught, remarks. Nobody writes for another, and nobody uses up what others may write."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from autoenvbench.errors import UserError
from autoenvbench.record.events import IdeaEvent, LearnedEvent, NoteEvent
from autoenvbench.record.ledger import Ledger
from autoenvbench.record.regimes import REGIMES
from autoenvbench.record.state import Follower, RunState
from autoenvbench.record.text_limits import MAX_TITLE
from autoenvbench.station.config import StationConfig

MAX_WORDS = 10_000  # ideas of a run, and as many notes, submissions and lessons; its members have equal shares
MAX_SOURCES = 20  # that an idea names
MAX_LESSON = 2000  # characters
ALONE = "this run's members work alone (--no-sharing): nobody sees, or takes over, what another does"


class Ideas:
    """The ideas and notes of a run."""

    def __init__(self, station: StationConfig, record: Follower, ledger: Ledger) -> None:
        self._station, self._config, self._record, self._ledger = station, station.config, record, ledger

    def register(
        self, agent: str, title: str, parent: str | None, inspired_by: Sequence[str], regime: str | None
    ) -> dict[str, Any]:
        """A new hypothesis; returns the event. Raises UserError for what is no idea, or too many."""
        if (
            not isinstance(inspired_by, list)
            or len(inspired_by) > MAX_SOURCES
            or len(set(map(str, inspired_by))) < len(inspired_by)
        ):
            raise UserError(f"inspired_by is a list of at most {MAX_SOURCES} different ideas, such as I3")
        title = " ".join(title.split())
        if not 3 <= len(title) <= MAX_TITLE:
            raise UserError(
                f'an idea needs a title of 3 to {MAX_TITLE} characters, this one has {len(title)}: aeb idea "what you will try, and why"'
            )
        if regime is not None and regime not in REGIMES:
            raise UserError(f"unknown regime {regime!r}; choose one of {', '.join(REGIMES)}")
        only = self._config.regime
        if only is not None and regime not in (None, only):
            raise UserError(f"this run is about {only} alone: no {regime}")
        regime = regime or only
        with self._record.read() as state:  # held until the idea is written, so that no other gets its id
            self.require_room(state, agent, "idea", "ideas")
            for other in [parent, *inspired_by]:
                if other is not None and not self._config.sharing:
                    self.require_own(state, agent, other, "")
                elif other is not None:
                    require_idea(other, state)
            event = IdeaEvent(
                id=f"I{len(state.ideas) + 1}", title=title, parent=parent, inspired_by=inspired_by, regime=regime
            )
            self._ledger.append(event, agent=agent)
        return event.model_dump()

    def learned(self, agent: str, idea: str, text: str) -> dict[str, Any]:
        """What an idea taught, in its author's words; the newest text counts. Raises UserError, also where it is another's idea."""
        text = " ".join(text.split())
        if not 3 <= len(text) <= MAX_LESSON:
            raise UserError(
                f"what was learned is a paragraph of 3 to {MAX_LESSON} characters, this one has {len(text)}: "
                'aeb learned I7 "raised nothing: the tip slips before it turns"'
            )
        with self._record.read() as state:
            self.require_own(state, agent, idea, "only its author writes what it taught")
            self.require_room(state, agent, "learned", "lessons")
            event = LearnedEvent(idea=idea, text=text)
            self._ledger.append(event, agent=agent)
        return event.model_dump(include={"idea", "text"})

    def note(self, agent: str, text: str) -> None:
        """Write a text down, cut to 4,000 characters. Raises UserError where there are too many."""
        with self._record.read() as state:
            self.require_room(state, agent, "note", "notes")
            self._ledger.append(NoteEvent(text=text[:4000]), agent=agent)

    def under_test(self, agent: str, idea: str | None) -> str | None:
        """The idea to which a member's evaluation counts: the one it names, which is its own, or else its own newest. Raises UserError."""
        with self._record.read() as state:
            if idea is not None:
                self.require_own(state, agent, idea, "an evaluation counts to an idea of your own")
                return idea
            return state.book.newest.get(agent)

    def require_own(self, state: RunState, agent: str, idea: object, why: str) -> None:
        """Raises UserError for an idea that is not this member's."""
        known = isinstance(idea, str) and idea in state.ideas
        if not self._config.sharing and not (known and state.book.author(str(idea)) == agent):
            raise UserError(ALONE)
        author = state.book.author(require_idea(idea, state))
        if author != agent:
            raise UserError(f'{idea} is {author}\'s: {why}; type: aeb idea "what you will try with it" --parent {idea}')

    def require_room(self, state: RunState, agent: str, kind: str, words: str) -> None:
        """Raises UserError where a member has written its share of one kind."""
        most = MAX_WORDS // max(len(self._station.members), 1)
        if state.book.words[agent, kind] >= most:
            raise UserError(
                f"you have written {most} {words} already, which is your share of this run; do without more"
            )


def require_idea(id: object, state: RunState) -> str:
    """The id of an idea of the run. Raises UserError for any other."""
    if not isinstance(id, str) or id not in state.ideas:
        known = ", ".join(list(state.ideas)[-20:])
        raise UserError(f"there is no idea {str(id)[:40]!r}; known: {known or 'none yet'}")
    return id
