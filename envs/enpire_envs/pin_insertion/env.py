"""`ENPIRE/PinInsertion-v0`."""

from __future__ import annotations

from typing import Literal, Unpack

from enpire_envs.env import CellEnv, CellOptions, choose
from enpire_envs.pin_insertion.scene import PinScene
from enpire_envs.pin_insertion.task import PinInsertion
from enpire_envs.sim import SimCell


class PinInsertionEnv(CellEnv):
    """Insert a pin into a hole that is 0.1 mm wider and seen only to within 2 mm.

    ## Description
    A pin box holds a 3 x 3 grid of holes, 4.0 mm wide and 20 mm deep; one of them, drawn at random, is the target. The
    gripper already holds a 3.9 mm pin above it, off by up to 2 mm and tilted by up to 1 degree. The hole's position is known
    only to within 2 mm, so aligning to the estimate is not enough: searching, or feeling the rim, is the task. The end
    effector is compliant (1500 N/m, 6 Nm/rad, at most 25 N sideways and 60 N along the pin); a tilted or hurried pin
    jams.

    Frame: x, y, z of the end effector relative to its start; z up, along the hole.

    ## Action space
    `Box(-1, 1, (3,), float32)`, 30 Hz.

    | i | action | range | unit |
    |---|---|---|---|
    | 0-1 | displacement of the end effector's target along x, y | [-1, 1] | x 0.3 mm per step (9 mm/s) |
    | 2 | the same along z | [-1, 1] | x 0.6 mm per step (18 mm/s) |
    | 3-5 | only with `tilt="hard"`: rotation about x, y, z | [-1, 1] | x 0.2 deg per step |

    Displacements add up on the last *commanded* pose, so pressing is commanding a pose below the one reached.

    ## Observation space
    `obs_type="state"`: `Box((70,), float32)`, SI units (with `tilt="hard"` three rotation components follow index 2).

    | i | observation | unit |
    |---|---|---|
    | 0-2 | end effector relative to its start | m |
    | 3-5 | force that the surroundings exert on the pin | N |
    | 6-8 | torque at the gripper | Nm |
    | 9 | gripper opening (closed: 0) | - |
    | 10-11 | estimated hole position relative to the start; one look per episode | m |
    | 12 | age of that estimate, in units of 20 s | - |
    | 13 | valid: 1 | - |
    | 14-69 | the last 8 steps, oldest first, of wrench (6) and height (1) | N, Nm, m |

    With `sensing="noisy"` the estimate is off by an error drawn per episode, uniform in a 2 mm disc, and the wrench
    has drift and noise. `"pixels"`: a camera at the wrist, (96, 96, 3) uint8. `"pixels_agent_pos"`: with `agent_pos` (3,).

    ## Reward
    `"sparse"`: 1 on the step of a verified success, else 0. `"dense"`: up to 0.1 for nearness, up to 0.9 for insertion.

    ## Starts
    Tip 4 to 5 mm above the plate; offset uniform in a 2 mm disc (`"ood"`: 3 mm), tilt uniform in a 1 degree disc (`"ood"`:
    2; `tilt="hard"`: 3, `"ood"` 5). `reset(options={"start": {"tip": [x, y, z], "tilt": [rx, ry], "hole": [i, j]}})` with the
    target hole's axis as origin asks for an exact start. Each episode draws the friction (0.3 +- 20 %).

    ## Episode end
    When the pin's axis is inside the hole and at least 18 mm deep, the policy's turn is over; the verifier stops pressing and
    holds for 0.5 s. The pin must stay 18 mm deep inside the bore with less than 10 N on it and no penetration above
    0.5 mm. That verdict is final (terminated). Violations terminate with reward 0: end effector more than 15 mm sideways,
    70 mm down or 3 mm up from its start (`out_of_workspace`), more than 40 N for 0.1 s (`force_limit`), penetration
    above 0.5 mm (`penetration`). Truncated after 600 steps (20 s).

    `info["score"]`: a quarter per stage: `contact`, `tip_in` (1 mm deep), `half_in` (10 mm), `success`. `info["insertion"]`
    [m], `info["force"]` [N].

    ## Arguments
    `clearance` (hole less pin diameter, 0.0001 m; 0.00005 to 0.0002), `tilt` ("easy", "hard"), `obs_type`, `reward_type`,
    `sensing`, `starts`, `render_mode`, `observation_width`, `visualization_width`, `max_episode_steps`.

    ## Version history
    v0: first release. Source: ENPIRE (arXiv 2606.19980), whose pins and holes exist only as hardware. Steady contact
    penetration is about 0.03 mm at 15 N, so clearances below 0.05 mm are not offered.
    """

    def __init__(
        self,
        *,
        clearance: float = 1e-4,
        tilt: Literal["easy", "hard"] = "easy",
        sensing: Literal["noisy", "ideal"] = "noisy",
        **options: Unpack[CellOptions],
    ) -> None:
        choose("tilt", tilt, ("easy", "hard"))
        if not 5e-5 <= clearance <= 2e-4:
            raise ValueError(f"clearance {clearance}: choose 0.00005 to 0.0002 m")
        choose("sensing", sensing, ("noisy", "ideal"))
        task = PinInsertion(sensing, tilt)
        super().__init__(task, SimCell(PinScene(clearance), task.control_hz), **options)
