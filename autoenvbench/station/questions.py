"""Questions about pictures (`--vision tool`): members see none, and a model that does answers in words.

The pictures of practice lie where no cage sees them. An answer is bounded text; a model that wanted to could spell out a picture in words
all the same, and what bounds that is the length of answers and how many a member may have.
"""

from __future__ import annotations

import re
import threading
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from autoenvbench.errors import BudgetOver, UserError
from autoenvbench.gateway.vision_model import NoAnswer, VisionModel
from autoenvbench.record.events import QuestionEvent
from autoenvbench.station.config import data_folder
from autoenvbench.station.jobs import Caller, Jobs
from autoenvbench.text import visible

MAX_QUESTION, MAX_ANSWER = 1000, 2000  # characters
MAX_PICTURES = 10  # of one question
SIDE = 640  # longer side of what the model is sent [px]
_NAME = r"E\d{1,9}-\d{1,9}(\.\d{1,3})?"
_EPISODE, _FILM = re.compile(_NAME), re.compile(r"E\d{1,9}-(success|failure)")
_CAMERA = re.compile(r"[A-Za-z0-9_-]{1,40}")
_UNBROKEN = re.compile(r"\S{65,}")  # as no word is, and encoded data are


@dataclass(frozen=True, slots=True)
class Question:
    """What a member asks, and about which pictures: a camera's view now, an episode of practice, or a film.

    Attributes:
        about: `camera`, `episode` or `film`; `which`: its name.
    """

    text: str
    about: str
    which: str

    @classmethod
    def of(cls, body: Mapping[str, Any]) -> Question:
        """From a request. Raises UserError."""
        text = body.get("question")
        if not isinstance(text, str) or not 3 <= len(text.strip()) <= MAX_QUESTION:
            raise UserError(f"a question is a text of 3 to {MAX_QUESTION} characters")
        named = [name for name in ("camera", "episode", "film") if body.get(name) is not None]
        if len(named) > 1:
            raise UserError(f"a question is about one thing; of --{' and --'.join(named)} leave one")
        about = named[0] if named else "camera"
        which = body.get(about, "top")
        shape = {"camera": _CAMERA, "episode": _EPISODE, "film": _FILM}[about]
        if not isinstance(which, str) or not shape.fullmatch(which):
            like = {"camera": "top", "episode": "E3-2", "film": "E3-failure"}[about]
            raise UserError(f"{visible(str(which))[:60]!r} names no {about}; write it like {like}")
        return cls(visible(text.strip(), lines=True), about, which)

    @property
    def words(self) -> str:
        """What it is about."""
        return "now" if (self.about, self.which) == ("camera", "top") else f"{self.about} {self.which}"


class Questions:
    """Asks the run's model for its members, one question of each at a time.

    Args:
        jobs: of the station, for its record, budget and cells.
    """

    def __init__(self, jobs: Jobs) -> None:
        self._jobs, self._run = jobs, jobs.run
        self._model: VisionModel | None = None
        self._turn = threading.Lock()

    def ask(self, caller: Caller, asked: Question) -> dict[str, Any]:
        """The answer, who gave it, and how many questions are left. Raises UserError, also where there is no answer, and BudgetOver."""
        if self._run.vision == "none":
            self._jobs.require_vision("answers about pictures")
        if self._run.vision_model is None:
            raise UserError(
                "there is no model to ask in this run: its agents see pictures themselves (aeb episodes --sheet, aeb practice --video)"
            )
        self._jobs.require_budget()
        left = self._left(caller.member)
        if left < 1:
            raise BudgetOver(
                f"all {self._run.vision_questions} questions of {caller.member} are asked; numbers are left: aeb episodes --plot"
            )
        pictures = self._pictures(caller, asked)
        model, answer, withheld, told = self._opened(), "", None, ""
        try:
            stop = self._jobs.stop_when(caller.gone)
            text, call = model.ask(self._jobs.ledger, caller.member, asked.text, pictures, stop)
            answer, withheld = in_words(text)
            told = f"the answer is withheld: {withheld}"
        except NoAnswer as error:
            call, withheld, told = error.call, str(error), "the model gave no answer"  # its server is nobody's business
        self._jobs.ledger.append(
            QuestionEvent(call=call, about=asked.words, pictures=len(pictures), question=asked.text, answer=answer, withheld=withheld),
            agent=caller.member,
        )  # fmt: skip
        left = self._left(caller.member)
        if withheld is not None:
            raise UserError(f"{told}; ask otherwise or later ({left} questions left)")
        return {"answer": answer, "model": self._run.vision_model, "about": asked.words, "questions_left": left}

    def _left(self, member: str) -> int:
        with self._jobs.record.read() as state:
            return self._run.vision_questions - state.questions[member]

    def _opened(self) -> VisionModel:
        """The model's door, which stays open until the station ends."""
        with self._turn:
            if self._model is None:
                assert self._run.vision_model is not None
                self._model = VisionModel(self._run.vision_model, self._run.vision_url).__enter__()
            return self._model

    # -- pictures ----------------------------------------------------------------------------------------------------
    def _pictures(self, caller: Caller, asked: Question) -> list[tuple[str, bytes]]:
        """(caption, JPEG) of each picture, in their order. Raises UserError where there is none."""
        if asked.about == "camera":
            with self._jobs.open(caller, f"picture for a question of {caller.member}", 1) as job:
                seen = job.cell().picture(asked.which)
            return [(f"The view of camera {asked.which} now:", _small(seen))]
        folder = pictures_folder(self._jobs.config.run_dir, caller.member, sharing=self._run.sharing)
        if asked.about == "film":
            return _of_film(folder / f"{asked.which}.mp4")
        files = sorted(folder.glob(f"{asked.which}~*.jpg"))[:MAX_PICTURES]
        if not files:
            raise UserError(
                f"{asked.which} has no pictures: the first two failures of each practice do, and what is filmed (aeb practice --video)"
            )
        return [(f"{file.stem.partition('~')[2].partition('-')[2]}:", _small(file.read_bytes())) for file in files]


def pictures_folder(run_dir: Path, member: str, *, sharing: bool) -> Path:
    """Where the pictures of a member's practice are, of which it sees none: outside of all that cages see."""
    return data_folder(run_dir, member, sharing=sharing, root="pictures") / "practice"


def _of_film(path: Path) -> list[tuple[str, bytes]]:
    """Some pictures of a film, evenly over it."""
    import cv2  # takes a moment, and most doors are never asked
    import numpy as np

    from autoenvbench.station.film import jpeg

    film = cv2.VideoCapture(str(path)) if path.is_file() else None
    count = int(film.get(cv2.CAP_PROP_FRAME_COUNT)) if film is not None else 0
    rate = float(film.get(cv2.CAP_PROP_FPS)) if film is not None else 0.0
    found = []
    wanted = {round(k) for k in np.linspace(0, count - 1, min(MAX_PICTURES, count))}
    for k in range(count):
        assert film is not None
        if not film.grab():
            break
        if k in wanted:
            good, frame = film.retrieve()
            if good:
                found.append((f"At {k / max(rate, 1e-9):.1f} s:", jpeg(np.ascontiguousarray(frame[..., ::-1]), SIDE)))
    if film is not None:
        film.release()
    if not found:
        raise UserError(f"there is no film {path.stem}; aeb practice --video makes some")
    return found


def _small(picture: bytes) -> bytes:
    """A picture as JPEG, its longer side at most SIDE."""
    import cv2
    import numpy as np

    from autoenvbench.station.film import jpeg

    image = cv2.imdecode(np.frombuffer(picture, np.uint8), cv2.IMREAD_COLOR)
    if image is None:
        raise UserError("the picture cannot be read; try again")
    return jpeg(np.ascontiguousarray(image[..., ::-1]), SIDE)


# -- answers -------------------------------------------------------------------------------------------------------------
def in_words(text: str) -> tuple[str, str | None]:
    """An answer as its asker may have it, and why it may not, if so: what looks like data and not like words is a picture in disguise."""
    answer = visible(text.strip(), lines=True)
    answer = answer if len(answer) <= MAX_ANSWER else answer[: MAX_ANSWER - 1] + "…"
    if _UNBROKEN.search(answer):
        return "", "it holds encoded data, not words"
    marks = [c for c in answer if not c.isspace()]
    if len(marks) > 200 and sum(c.isalpha() for c in marks) < 0.55 * len(marks):
        return "", "it holds more numbers and signs than words"
    words = answer.split()
    if len(words) > 40 and sum(_is_odd(word) for word in words) > 0.4 * len(words):
        return "", "it holds encoded data, not words"
    return answer, None


def _is_odd(word: str) -> bool:
    """Whether a word is one that no prose has many of: digits, or capitals behind its first letter."""
    core = word.strip(".,;:()[]\"'`*")
    return any(c.isdigit() for c in core) or (core[1:] != core[1:].lower() and not core.isupper()) or len(core) > 24
