"""Where a station keeps its episodes: one file each (see `enpire_envs.episode_file`), in a folder that fills no disk."""

from __future__ import annotations

import contextlib
import functools
import itertools
import json
import os
import shutil
from collections import deque
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from importlib import metadata
from pathlib import Path
from typing import Any

import gymnasium as gym
import numpy as np
from enpire_envs.contract import SHOWN, contract_of, names_of
from enpire_envs.episode_file import SUFFIX, EpisodeError, EpisodeWriter, Source, describe_space
from enpire_envs.fingerprint import fingerprint

from autoenvbench.errors import UserError
from autoenvbench.record.events import EpisodeEvent
from autoenvbench.record.stations import ARGUMENT
from autoenvbench.station.batch import Insight, Keep
from autoenvbench.station.film import Lens, jpeg

MIN_FREE = 2 << 30  # bytes that stay free on its disk: the ledger needs some
MOST_NUMBERS = 50  # of an `info`, that are kept
FRAME_SIDE = 320  # of the few pictures of an episode [px]
_TOLD = ("score", "time")  # of an `info`: these follow from other columns
#: What the verdict of an episode says, of its event in the ledger.
_VERDICT = {"success", "score", "stage", "reason", "detail", "violations", "infrastructure"}


class Trajectories:
    """A folder of episodes, as `where` describes it."""

    def __init__(self, where: Keep) -> None:
        self.folder, self._where = where.folder, where
        self._files: deque[tuple[Path, int]] | None = None  # and their sizes, oldest first; None: not looked yet
        self._used = 0
        self._removed = False
        self.full: str | None = None  # why nothing more is kept

    def writer(self, stages: Sequence[str]) -> EpisodeWriter:
        """For the next episode, of an environment with these stages."""
        note = functools.partial(noted, self._where.insight, {name: k for k, name in enumerate(stages)})
        return EpisodeWriter(images="png", source=Source(self._where.source), note=note)

    def keep(
        self, name: str, record: EpisodeWriter, event: EpisodeEvent, about: dict[str, Any], *, began: float, agent: str | None,
        station: str, evidence: Mapping[str, Sequence[bytes]], frames: Sequence[int], calls: list[dict[str, Any]],
    ) -> str | None:  # fmt: skip
        """Write an episode as NAME.episode, and a script's tool calls as NAME.calls.jsonl, one JSON object a line.

        `evidence`: images as PNG or JPEG, by name; `frames`: the steps that those called "frames" show.

        Returns, once, why that was not possible or what made room for it, or None: an episode counts without its file. Raises UserError
        if it is required.
        """
        if self.full is not None or not record.begun:
            return None
        apart: dict[str, bytes] = {}
        if not self._where.pictures:
            apart = _apart(evidence, frames, about) if self._where.apart is not None else {}
            evidence, frames = {}, ()
        verdict = event.model_dump(include=_VERDICT)
        meta = {
            **about, "attempt": event.attempt, "verdict": verdict,
            **({"frames": list(frames)} if frames else {}),
            **({} if self._where.secret else {"seed": event.seed}), **({"start": record.start} if self._where.starts else {}),
            "provenance": {
                "collector": f"autoenvbench {_version()}", "station": station, "kind": event.cell, "agent": agent,
                **({} if self._where.policy is None else {"policy": self._where.policy}),
                **({} if event.weights is None else {"weights": event.weights}),
                "evaluation": event.evaluation, "purpose": event.purpose, "index": event.index, "commit": event.commit,
                "content": event.content, "began": datetime.fromtimestamp(began, UTC).isoformat(timespec="milliseconds"),
            },
        }  # fmt: skip
        try:
            self.folder.mkdir(parents=True, exist_ok=True)
            first = self.make_room(agent)
            if self._where.most == 0:
                self.full = f"there is no room for more in {self.folder.name}"
            elif self._used > self._where.most:
                self.full = f"{self.folder.name} holds {self._used >> 20} MB of episodes; at most {self._where.most >> 20} are kept"
            elif shutil.disk_usage(self.folder).free < MIN_FREE:
                self.full = f"less than {MIN_FREE >> 20} MB are free on the disk of {self.folder.name}"
            else:
                size = about["action_space"]["shape"]
                file = self.folder / f"{name}{SUFFIX}"
                self.add(file, record.write(file, meta, action_shape=size, evidence=evidence))
                for picture, data in apart.items():
                    assert self._where.apart is not None
                    self._where.apart.mkdir(parents=True, exist_ok=True)
                    file = self._where.apart / f"{name}~{picture}"
                    self.add(file, file.write_bytes(data))
                if calls:
                    lines = "".join(json.dumps(call) + "\n" for call in calls)
                    file = self.folder / f"{name}.calls.jsonl"
                    self.add(file, file.write_text(lines))
                return first
        except (OSError, EpisodeError) as error:
            return self._not_kept(f"the trajectory of {name} was not kept: {error}")
        return self._not_kept(f"no more trajectories are kept: {self.full}")

    def make_room(self, agent: str | None) -> str | None:
        """Look how much there is, and remove the member's oldest files where it has more than it may have; says so once. Raises OSError."""
        if self._files is None:
            self._files = deque(self._look())
            self._used = sum(size for _, size in self._files)
        if self._where.own is None or self._used <= self._where.most:
            return None
        while self._files and self._used > self._where.most:
            file, size = self._files.popleft()
            file.unlink(missing_ok=True)
            self._used -= size
        if self._removed:
            return None
        self._removed = True
        return f"the oldest files of {agent} in {self.folder.name} are removed: it may have {self._where.most >> 20} MB there"

    def _look(self) -> list[tuple[Path, int]]:
        """What is in the folder: all of it, or the files of the member's own evaluations, in their order."""
        folders = [self.folder, *([self._where.apart] if self._where.apart is not None else [])]
        found = [
            (Path(entry), entry.stat())
            for folder in folders if folder.is_dir()
            for entry in os.scandir(folder) if entry.is_file(follow_symlinks=False)
        ]  # fmt: skip
        if self._where.own is not None:
            order = {evaluation: k for k, evaluation in enumerate(self._where.own)}
            mine = [(path, stat) for path, stat in found if path.name.partition("-")[0] in order]
            found = sorted(mine, key=lambda each: (order[each[0].name.partition("-")[0]], each[1].st_mtime_ns))
        return [(path, stat.st_size) for path, stat in found]

    def room(self) -> int:
        """What the folder may still take [bytes], after `make_room`: all of the member's part, where its oldest files give way."""
        return max(0, self._where.most - (self._used if self._where.own is None else 0))

    def add(self, file: Path, size: int) -> None:
        """A file has come in."""
        self._used += size
        if self._files is not None:
            self._files.append((file, size))

    def _not_kept(self, why: str) -> str:
        if self._where.required:
            raise UserError(f"{why} (in {self.folder})")
        return why


def _apart(
    evidence: Mapping[str, Sequence[bytes]], frames: Sequence[int], about: Mapping[str, Any]
) -> dict[str, bytes]:
    """An episode's pictures by the names of their files, which sort as they were taken and say when."""
    hz = float(about.get("control_hz") or 1)
    taken = [
        (f"step {step} ({step / hz:.1f} s)", data)
        for step, data in zip(frames, evidence.get("frames", ()), strict=False)
    ]
    others = [(f"the end, {name}", data) for name, images in evidence.items() if name != "frames" for data in images]
    return {
        f"{k:02d}-{words}.jpg": data for k, (words, data) in enumerate([*taken[: None if not others else -1], *others])
    }


def describe(env: gym.Env[Any, Any]) -> dict[str, Any]:
    """What an episode's file says of its environment; not which station it is, which a run's agent may not know."""
    contract, spec, body = contract_of(env), env.spec, None
    with contextlib.suppress(Exception):  # what cannot say now what its task is
        body = contract.tools_body()
    return {
        "env": spec.id if spec else type(env.unwrapped).__name__,
        "env_kwargs": {key: value for key, value in spec.kwargs.items() if key not in (*SHOWN, ARGUMENT)} if spec else {},
        "fingerprint": fingerprint(env) if spec else None, "control_hz": contract.control_hz,
        "task": body.instruction() if body is not None else None,
        "observation_space": describe_space(env.observation_space), "action_space": describe_space(env.action_space),
        "names": names_of(env), "stages": contract.stages,
    }  # fmt: skip


def noted(insight: Insight, stages: Mapping[str, int], info: Mapping[str, Any]) -> dict[str, float]:
    """What a file says of a step beside the policy's part in it (see `Keep.insight`)."""
    if insight == "none":
        return {}
    kept: dict[str, float] = {"stage": stages.get(str(info.get("stage")), -1)}
    if insight == "all":
        numbers = ((name, value) for name, value in info.items() if isinstance(value, float) and name not in _TOLD)
        kept |= {f"info.{name}": float(value) for name, value in itertools.islice(numbers, MOST_NUMBERS)}
    return kept


def evidence_of(env: gym.Env[Any, Any], lens: Lens | None, frames: Sequence[int]) -> dict[str, list[bytes]]:
    """What a verdict can be checked by: what the cameras of a real cell see now, or how a simulated one looked last; and `frames`, the
    pictures of a lens at these steps. Raises what drawing raises."""
    cell = contract_of(env).real_cell
    shown = list(lens.pictures(frames)) if lens is not None and frames else []
    seen: dict[str, np.ndarray] = cell.evidence() if cell is not None else {"view": shown[-1]} if shown else {}
    pictures = {name: [jpeg(image)] for name, image in seen.items()}
    return pictures | ({"frames": [jpeg(image, FRAME_SIDE) for image in shown]} if shown else {})


def _version() -> str:
    try:
        return metadata.version("autoenvbench")
    except metadata.PackageNotFoundError:
        return "unknown"
