"""One training run: how long it may take, what it shows, and how it goes on after an interruption as if there had been none.

    for step in training.steps(20_000, net=net, optimiser=optimiser):
        loss = ...                       # all randomness from training.rng and PyTorch's own generator
        if step % 200 == 0:
            training.record(loss=loss.item())

The folder of a run:

    curve.csv        a row for each `record`: step, seconds of training, and its numbers
    tensorboard/     the same, where TensorBoard is installed
    checkpoint.pt    all that is needed to go on; replaced as a whole
    policy/          the policy's folder, once it is exported

On one thread a run that is killed and resumed has the same curve, to the bit, as one that was not: parameters, optimisers, buffers and all
random generators are in the checkpoint, and rows behind it are written again.
"""

from __future__ import annotations

import csv
import math
import os
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, Protocol

import numpy as np
import torch

from autoenvbench.errors import UserError
from autoenvbench.record.clock import format_duration

CHECKPOINT = "checkpoint.pt"
CURVE = "curve.csv"
LINE_EVERY_S = 10.0


class Stateful(Protocol):
    """Networks, optimisers, buffers."""

    def state_dict(self) -> dict[str, Any]:
        """Tensors, numbers, texts, and lists and dictionaries of them."""

    def load_state_dict(self, state: dict[str, Any], /) -> Any:
        """Be as it was."""


def require_folder(out: Path, resume: bool) -> None:
    """Raises UserError for a folder with a run in it, or none to go on with."""
    file = out / CHECKPOINT
    if resume and not file.is_file():
        raise UserError(f"there is no {file} to go on with; start without --resume")
    if not resume and ((out / CURVE).exists() or file.exists()):
        raise UserError(f"{out} holds a run already; go on with it by --resume, or name a new folder")


class Training:
    """What an algorithm is told, and what it reports to.

    Args:
        out: the run's folder.
        seed: of `rng`, and of PyTorch's generator.
        minutes: of training at most, from the first step on; what was trained before an interruption counts.
        threads: of PyTorch. Small networks learn no faster on more.
        resume: go on from the checkpoint in `out`.
        log: shows a line of progress.
        checkpoint_every: seconds.

    Attributes:
        step: the newest one.
        rng: for all that is drawn.

    Raises:
        UserError: for a folder with a run in it, or none to go on with.
    """

    def __init__(
        self,
        out: Path,
        *,
        seed: int,
        minutes: float,
        threads: int = 1,
        resume: bool = False,
        log: Callable[[str], None] = lambda text: None,
        checkpoint_every: float = 60.0,
    ) -> None:
        self.out, self.step, self._log = out, 0, log
        self._limit_s, self._every, self._before = minutes * 60, checkpoint_every, 0.0
        self._file = out / CHECKPOINT
        require_folder(out, resume)
        self._state = self._load(self._file) if resume else None
        out.mkdir(parents=True, exist_ok=True)
        self.rng = np.random.default_rng(seed)
        torch.manual_seed(seed)
        torch.set_num_threads(threads)
        self._began = self._saved = self._shown = time.monotonic()
        self._names: list[str] | None = None
        self._tensorboard = self._board()

    @staticmethod
    def _load(file: Path) -> dict[str, Any]:
        state: dict[str, Any] = torch.load(file, weights_only=True)
        return state

    def _board(self) -> Any:
        try:
            from torch.utils.tensorboard import SummaryWriter
        except ImportError:
            return None
        return SummaryWriter(str(self.out / "tensorboard"))

    @property
    def seconds(self) -> float:
        """Of training, with those before an interruption."""
        return self._before + time.monotonic() - self._began

    @property
    def over(self) -> bool:
        """Whether the time is up."""
        return self.seconds >= self._limit_s

    def steps(self, limit: int, **parts: Stateful) -> Iterator[int]:
        """The numbers of the steps that are to be done, until `limit` or the time is reached.

        `parts` are brought back to where they were, if the run goes on, and are saved with each checkpoint and at the end.
        """
        self._parts = parts
        if self._state is not None:
            self._restore(self._state)
            self._state = None
        else:
            self._began = time.monotonic()  # what was prepared until now is no training
            self.checkpoint()  # a run that is killed at once can be gone on with, too
        self._limit = limit
        while self.step < limit and not self.over:
            self.step += 1
            yield self.step
            if time.monotonic() - self._saved > self._every:
                self.checkpoint()
        self.checkpoint()

    def record(self, **numbers: float) -> None:
        """A row of the curve at this step: the same names each time. Shows it now and then, with the time that is left."""
        names = ["step", "seconds", *numbers]
        if self._names is None:
            self._names = names
            if not (self.out / CURVE).exists():
                self._append(names)
        if names != self._names:
            raise ValueError(f"a curve has the same columns everywhere: {self._names}, not {names}")
        self._append([self.step, f"{self.seconds:.2f}", *(repr(float(value)) for value in numbers.values())])
        if self._tensorboard is not None:
            for name, value in numbers.items():
                self._tensorboard.add_scalar(name, value, self.step)
        if time.monotonic() - self._shown >= LINE_EVERY_S:
            self._shown = time.monotonic()
            self._log(f"step {self.step} of {self._limit}  " + "  ".join(f"{k} {v:.4g}" for k, v in numbers.items()) + f"  {self._left()}")  # fmt: skip

    def log(self, text: str) -> None:
        """A line of its own."""
        self._log(text)

    def _left(self) -> str:
        left = self._limit_s - self.seconds
        if self.step:
            left = min(left, self.seconds / self.step * (self._limit - self.step))
        return f"{format_duration(max(math.ceil(left), 0))} left"

    def _append(self, row: list[Any]) -> None:
        with (self.out / CURVE).open("a", newline="") as file:
            csv.writer(file).writerow(row)

    # -- to go on after an interruption --------------------------------------------------------------------------------------
    def checkpoint(self) -> None:
        """Write down all that is needed to go on, in place of what was written before, whole or not at all."""
        state = {
            "step": self.step,
            "seconds": self.seconds,
            "rng": self.rng.bit_generator.state,
            "torch": torch.get_rng_state(),
            "parts": {name: part.state_dict() for name, part in self._parts.items()},
        }
        part = self._file.with_suffix(".part")
        with part.open("wb") as file:
            torch.save(state, file)
            file.flush()
            os.fsync(file.fileno())
        part.replace(self._file)
        self._saved = time.monotonic()

    def _restore(self, state: dict[str, Any]) -> None:
        for name, part in self._parts.items():
            part.load_state_dict(state["parts"][name])
        self.step, self._before, self._began = state["step"], state["seconds"], time.monotonic()
        self.rng.bit_generator.state = state["rng"]
        torch.set_rng_state(state["torch"])
        curve = self.out / CURVE
        if curve.exists():  # what is behind the checkpoint will be done again
            header, *rows = curve.read_text().splitlines()
            kept = [row for row in rows if row.count(",") == header.count(",") and int(row.split(",")[0]) <= self.step]
            part_file = curve.with_suffix(".part")
            part_file.write_text("".join(f"{row}\r\n" for row in [header, *kept]))
            part_file.replace(curve)
