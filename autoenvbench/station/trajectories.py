"""Where a station keeps its episodes: one file each (see `enpire_envs.episode_file`), in a folder that fills no disk."""

from __future__ import annotations

import contextlib
import json
import os
import shutil
from datetime import UTC, datetime
from importlib import metadata
from typing import Any

import cv2
import gymnasium as gym
import numpy as np
from enpire_envs.contract import SHOWN, contract_of
from enpire_envs.episode_file import SUFFIX, EpisodeError, EpisodeWriter, Source, describe_space
from enpire_envs.fingerprint import fingerprint

from autoenvbench.errors import UserError
from autoenvbench.record.events import EpisodeEvent
from autoenvbench.station.batch import Keep

MIN_FREE = 2 << 30  # bytes that stay free on its disk: the ledger needs some
#: What the verdict of an episode says, of its event in the ledger.
_VERDICT = {"success", "score", "stage", "reason", "detail", "violations", "infrastructure"}


class Trajectories:
    """A folder of episodes, as `where` describes it."""

    def __init__(self, where: Keep) -> None:
        self.folder, self._where = where.folder, where
        self._used: int | None = None  # not looked yet
        self.full: str | None = None  # why nothing more is kept

    def writer(self) -> EpisodeWriter:
        """For the next episode."""
        return EpisodeWriter(images="png", source=Source(self._where.source))

    def keep(
        self, name: str, record: EpisodeWriter, event: EpisodeEvent, about: dict[str, Any], *, began: float, agent: str | None,
        station: str, evidence: dict[str, np.ndarray], calls: list[dict[str, Any]],
    ) -> str | None:  # fmt: skip
        """Write an episode as NAME.episode, and a script's tool calls as NAME.calls.jsonl, one JSON object a line.

        Returns why that was not possible, once, or None: an episode counts without its file. Raises UserError if it is required.
        """
        if self.full is not None or not record.begun:
            return None
        verdict = event.model_dump(include=_VERDICT)
        meta = {
            **about, "attempt": event.attempt, "verdict": verdict,
            **({} if self._where.secret else {"seed": event.seed}), **({"start": record.start} if self._where.starts else {}),
            "provenance": {
                "collector": f"autoenvbench {_version()}", "station": station, "kind": event.cell, "agent": agent,
                "evaluation": event.evaluation, "purpose": event.purpose, "index": event.index, "commit": event.commit,
                "content": event.content, "began": datetime.fromtimestamp(began, UTC).isoformat(timespec="milliseconds"),
            },
        }  # fmt: skip
        try:
            self.folder.mkdir(parents=True, exist_ok=True)
            if self._used is None:
                self._used = sum(entry.stat().st_size for entry in os.scandir(self.folder) if entry.is_file())
            if self._used > self._where.most:
                self.full = f"{self.folder.name} holds {self._used >> 20} MB of episodes; at most {self._where.most >> 20} are kept"
            elif shutil.disk_usage(self.folder).free < MIN_FREE:
                self.full = f"less than {MIN_FREE >> 20} MB are free on the disk of {self.folder.name}"
            else:
                shown = {key: [_jpeg(image)] for key, image in evidence.items()}
                size = about["action_space"]["shape"]
                self._used += record.write(self.folder / f"{name}{SUFFIX}", meta, action_shape=size, evidence=shown)
                if calls:
                    lines = "".join(json.dumps(call) + "\n" for call in calls)
                    self._used += (self.folder / f"{name}.calls.jsonl").write_text(lines)
        except (OSError, EpisodeError) as error:
            return self._not_kept(f"the trajectory of {name} was not kept: {error}")
        return self._not_kept(f"no more trajectories are kept: {self.full}") if self.full else None

    def _not_kept(self, why: str) -> str:
        if self._where.required:
            raise UserError(f"{why} (in {self.folder})")
        return why


def describe(env: gym.Env[Any, Any]) -> dict[str, Any]:
    """What an episode's file says of its environment."""
    contract, spec, body = contract_of(env), env.spec, None
    with contextlib.suppress(Exception):  # what cannot say now what its task is
        body = contract.tools_body()
    return {
        "env": spec.id if spec else type(env.unwrapped).__name__,
        "env_kwargs": {key: value for key, value in spec.kwargs.items() if key not in SHOWN} if spec else {},
        "fingerprint": fingerprint(env) if spec else None, "control_hz": contract.control_hz,
        "task": body.instruction() if body is not None else None,
        "observation_space": describe_space(env.observation_space), "action_space": describe_space(env.action_space),
    }  # fmt: skip


def evidence_of(env: gym.Env[Any, Any], shown: list[np.ndarray]) -> dict[str, np.ndarray]:
    """What a verdict can be checked by: what the cameras of a real cell see now, or the last picture taken of a simulated one."""
    cell = contract_of(env).real_cell
    if cell is not None:
        seen: dict[str, np.ndarray] = cell.evidence()
        return seen
    return {"view": shown[-1]} if shown else {}


def _version() -> str:
    try:
        return metadata.version("autoenvbench")
    except metadata.PackageNotFoundError:
        return "unknown"


def _jpeg(image: np.ndarray) -> bytes:
    return bytes(cv2.imencode(".jpg", image[..., ::-1], [cv2.IMWRITE_JPEG_QUALITY, 90])[1])
