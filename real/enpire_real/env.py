"""What environments on real cells share: opening a station with the right notices, and recording every episode."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING, Any, Unpack

import cv2
import gymnasium as gym
import numpy as np
from enpire_envs.env import MAX_RESET_ATTEMPTS, CellEnv, CellFault, CellOptions, ResetFailed
from enpire_envs.task import Task
from gymnasium import logger

from enpire_real.build import build_station
from enpire_real.cell import PersonNeeded, RealCell
from enpire_real.recorder import Recorder
from enpire_real.station import Station
from enpire_real.station_file import default_station, load_station, with_scene
from enpire_real.tasks import TaskKit, find_task
from enpire_real.tool_body import RealBody

if TYPE_CHECKING:
    from enpire_envs.contract import Identity

#: Of a twin: how hard it is by choice. Which twin it is (its seed), and where its parts stand, is a station's own affair.
_HARDNESS = {"noise", "latency_ms", "ideal"}


class MotionNotConfirmed(ValueError):
    """An environment on physical arms was asked for without saying that they may move."""


def open_station(path: str | Path | None, *, confirm_motion: bool, env_id: str, task: str) -> Station:
    """The station that an environment runs on, not started yet. Raises StationError, MotionNotConfirmed.

    A twin in this process gets the task's things on its table, as a person would lay them there.
    """
    path = path if path is not None else default_station()
    file = load_station(path if path is not None else find_task(task).twin)
    if file.kind == "physical" and confirm_motion is not True:
        raise MotionNotConfirmed(
            f"{env_id} would move the arms of station {file.name!r}. Clear its workspace, keep a hand on the emergency stop, and "
            "pass confirm_motion=True (on the command line: --env-arg confirm_motion=true)"
        )
    if file.kind == "twin":
        logger.warn(
            f"{env_id} runs on a twin, a station of simulated parts"
            + ("" if path else "; for real arms pass station=... or set AUTOENVBENCH_STATION")
        )
    return build_station(with_scene(file, task))


class RealEnv(CellEnv):
    """A `CellEnv` on a station. It can be neither copied nor pickled: a station, or its twin, has one owner.

    Raises StationError, MotionNotConfirmed.

    Args:
        task: what the job is.
        kit: what that task brings to a station.
        station: a station file; None for the one that AUTOENVBENCH_STATION names, else the twin that ships.
        confirm_motion: must be True where arms are physical.
        record: a folder for every episode's proprioception, actions, rewards and images; None for no recording.
    """

    def __init__(
        self,
        task: Task,
        kit: TaskKit,
        *,
        station: str | Path | None,
        confirm_motion: bool,
        record: str | Path | None,
        **options: Unpack[CellOptions],
    ) -> None:
        opened = open_station(
            station, confirm_motion=confirm_motion, env_id=f"ENPIRE/{task.name}-real-v0", task=kit.name
        )
        self.kit = kit
        self.real_cell = RealCell(opened, kit.make_scene(opened, task.control_hz))
        super().__init__(task, self.real_cell, **options)
        self._recorder = Recorder(Path(record), opened, task.control_hz, task.name) if record is not None else None

    def reset(self, *, seed: int | None = None, options: dict[str, Any] | None = None) -> tuple[Any, dict[str, Any]]:
        """Bring the cell to the start of the next episode, in up to `MAX_RESET_ATTEMPTS` attempts at the same start, whether they fail
        by a fault or by a look at the scene; `info["reset_attempts"]` says how many.

        Raises ResetFailed where none succeeds, or a person is needed; the arms are folded down then, unless a person stopped them.
        """
        if self._recorder is not None:
            self._recorder.discard()
        if seed is not None:
            gym.Env.reset(self, seed=seed)
        state = self.np_random.bit_generator.state
        before = self.real_cell.resets
        self.real_cell.most_resets = before + MAX_RESET_ATTEMPTS
        for attempt in range(1, MAX_RESET_ATTEMPTS + 1):
            try:
                self.np_random.bit_generator.state = state  # the same start again
                observation, info = super().reset(options=options)
                break
            except PersonNeeded as needed:
                self.real_cell.ask_person(str(needed))
                raise self._given_up(f"{self.task.name}: {needed}", before) from needed
            except CellFault as fault:
                tries = max(attempt, self.real_cell.resets - before)
                if tries >= MAX_RESET_ATTEMPTS or self.real_cell.stopped_by_person or self.real_cell.run_over:
                    raise self._given_up(f"{self.task.name}: {fault}", before) from fault
            except ResetFailed as failed:
                raise self._given_up(str(failed), before) from failed
        info["reset_attempts"] = self.real_cell.resets - before
        if self._recorder is not None:
            self._recorder.begin(info, self)
        return observation, info

    def judge_start(self) -> bool:
        """The verifier's word on the scene just after a reset, which is no success: what a station's canary asks. Ends the episode.

        Raises CellFault.
        """
        self._over = True
        return self.task.verify(self.cell).success

    def _given_up(self, why: str, before: int) -> ResetFailed:
        """No start could be made: the arms do not stay where that left them."""
        self._over = True
        attempts = self.real_cell.resets - before
        if self.real_cell.stopped_by_person:
            return ResetFailed(f"{why}. Until then the arms stay where they are", attempts)
        why_not = self.real_cell.park()
        arms = "the arms are folded down" if why_not is None else f"the arms could not be folded down: {why_not}"
        return ResetFailed(f"{why} ({attempts} attempt{'s' if attempts != 1 else ''}; {arms})", attempts)

    def __getstate__(self) -> dict[str, Any]:
        raise TypeError(
            "an environment on a station can be neither copied nor pickled, because a station has one owner; make another "
            "one with gymnasium.make"
        )

    in_process = False

    def identity(self) -> Identity:
        """The code of task and verifier, and never a station's calibration: labs with the same task meet on one board.

        What a station is made of is in `enpire_real.verifier.digest.station_digest`, to which a verifier's certificate is bound.
        """
        simulated, twin = super().identity(), self.real_cell.station.file.twin
        return {
            **simulated,
            "scene": ""
            if twin is None
            else json.dumps(twin.model_dump(mode="json", include=_HARDNESS), sort_keys=True),
            "ignore": ("station", "confirm_motion", "record"),
            "aside": (*simulated["aside"], "enpire_real.recorder", "enpire_real.tool_body"),
        }

    def tools_body(self) -> RealBody:
        """What the tools of script policies act through."""
        return RealBody(self)

    def render(self) -> np.ndarray | None:
        """`rgb_array`: the view of the camera that looks at the work, uncropped in a square (height, width, 3) uint8."""
        if self.render_mode != "rgb_array":
            return super().render()
        image = self.real_cell.camera_frame(self.real_cell.scene.camera_name)
        height, width = image.shape[:2]
        edge = (width - height) // 2
        square = cv2.copyMakeBorder(
            image, max(edge, 0), max(edge, 0), max(-edge, 0), max(-edge, 0), cv2.BORDER_CONSTANT
        )
        return cv2.resize(square, (self._view_size, self._view_size), interpolation=cv2.INTER_AREA)

    def advance(self, action: np.ndarray) -> None:
        """As `CellEnv.advance`; what the policy saw and did is recorded."""
        if self._recorder is not None and not self._over:
            self._recorder.before(action)
        super().advance(action)

    def conclude(self) -> tuple[Any, float, bool, bool, dict[str, Any]]:
        """As `CellEnv.conclude`; `info["recording"]` says what has been recorded."""
        observation, reward, terminated, truncated, info = super().conclude()
        if self._recorder is not None:
            self._recorder.after(reward, terminated, truncated, info)
            info["recording"] = self._recorder.told()
        return observation, reward, terminated, truncated, info

    def close(self) -> None:
        """Fold the arms down, let go of the station, and write what is still to be recorded."""
        try:
            super().close()
        finally:
            if self._recorder is not None:
                self._recorder.close()
