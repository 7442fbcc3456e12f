"""`ENPIRE/PushT-real-v0` and `ENPIRE/PushTSimple-real-v0`."""

from __future__ import annotations

from pathlib import Path
from typing import Literal, Unpack

from enpire_envs.env import CellOptions, choose
from enpire_envs.pusht.scene import STATION
from enpire_envs.pusht.task import Control, Criterion

from enpire_real.env import RealEnv
from enpire_real.pusht.kit import KIT
from enpire_real.pusht.task import RealPushT


class PushTRealEnv(RealEnv):
    """Push-T with arms: the same spaces, stages and verdict as `ENPIRE/PushT-v0`, on a station.

    ## Description
    One arm holds a printed peg and pushes a printed T with a red top over a printed mat; a camera looks down on it (see
    `real/README.md` for what to print). Without a station file the twin answers: arms, motors, CAN frames and camera frames are
    simulated, and `info["cell"]` says "twin".

    ## Action and observation space
    As `ENPIRE/PushT-v0`. The T's pose is what perception makes of the top image: `age` is the time since the image was
    taken, `valid` is 0 while the arm hides the T. `"pixels"` is the top image, rectified to the view of the simulated
    camera.

    ## Reward and episode end
    As `ENPIRE/PushT-v0`, with `criterion="pose"`, the paper's test on the robot, by default. The verifier moves the arm out
    of the camera's view and looks. Actions that come late hold the last command; ten in a row end the episode
    (`late_actions`).

    ## Reset
    The T is pushed to within 25 mm and 12 degrees of the sampled start, verified by looking, in up to three attempts; then
    the tip goes to its start. `reset(options={"start": ...})` as in simulation.

    ## Safety
    A safety monitor stands between every command and the bus. When it stops the arms, the episode ends as a fault of the cell
    (`CellFault`, with the reason), never as a success or failure of the policy.

    ## Arguments
    `station`: a station file; default the one that `AUTOENVBENCH_STATION` names, else the twin. `confirm_motion`: must be True
    where arms are physical. `record`: a folder to which every episode is written (see `autoenvbench station dataset`).
    `obs_type`, `reward_type`, `gamma`, `starts`, `criterion`, `control`, `render_mode`, `observation_width`, `visualization_width`,
    `max_episode_steps` as in simulation.

    ## Version history
    v0: first release. Source: ENPIRE (arXiv 2606.19980).
    """

    def __init__(
        self,
        *,
        variant: Literal["full", "simple"] = "full",
        station: str | Path | None = None,
        confirm_motion: bool = False,
        record: str | Path | None = None,
        criterion: Criterion | None = None,
        control: Control = "delta",
        **options: Unpack[CellOptions],
    ) -> None:
        criterion = criterion or ("simple" if variant == "simple" else "pose")
        choose("criterion", criterion, ("coverage", "pose", "simple"))
        choose("control", control, ("delta", "absolute"))
        task = RealPushT(STATION, criterion, control, variant)
        super().__init__(task, KIT, station=station, confirm_motion=confirm_motion, record=record, **options)
