"""`ENPIRE/TieZipTie-v0`."""

from __future__ import annotations

from typing import Literal, Unpack

from enpire_envs.env import CellEnv, CellOptions, choose
from enpire_envs.sim import SimCell
from enpire_envs.tie_zip_tie.brief import describe
from enpire_envs.tie_zip_tie.scene import TieScene
from enpire_envs.tie_zip_tie.task import TieZipTie


class TieZipTieEnv(CellEnv):
    """Thread a zip tie's strap through its head and pull until the ratchet holds 15 mm of it.

    ## Description
    The gripper holds a flexible strap (16 hinged links of 10 mm, 3.6 x 1.4 mm) between 21 and 55 mm from its tip, in front
    of a fixed head whose slot is 0.8 mm wider than the strap and 5 mm long. The slot is a one-way ratchet with 1 mm teeth: what
    went in does not come out. A grasp close to the tip cannot push enough strap through; the gripper must open, go back (or
    round to the other side), and grasp again. Fingers that close on the strap hold it by a weld until they open.

    Frame: x along the slot, in the strap's direction; z up. Rotations are the end effector's hinge angles.

    ## Action space
    `Box(-1, 1, (7,), float32)`, 30 Hz.

    | i | action | range | unit |
    |---|---|---|---|
    | 0-1 | displacement of the end effector's target along x, y | [-1, 1] | x 0.25 mm per step |
    | 2 | the same along z | [-1, 1] | x 0.4 mm per step |
    | 3-5 | rotation about x, y, z | [-1, 1] | x 0.2 deg per step |
    | 6 | gripper: above 0 closes, below 0 opens | [-1, 1] | a quarter of the stroke per step |

    ## Observation space
    `obs_type="state"`: `Box((22,), float32)`, SI units.

    | i | observation | unit |
    |---|---|---|
    | 0-5 | end effector relative to its start: x, y, z, rotation | m, rad |
    | 6 | gripper opening, 0 closed to 1 open | - |
    | 7 | 1 while the fingers hold the strap | - |
    | 8-13 | wrench at the gripper: force, torque | N, Nm |
    | 14-16 | estimated position of the slot's entrance relative to the start; one look | m |
    | 17-19 | estimated position of the strap's tip relative to the start | m |
    | 20 | valid: 0 while the head hides the tip (the last estimate is repeated) | - |
    | 21 | length of strap beyond the head, as the camera sees it | m |

    With `sensing="noisy"` both estimates are off by up to 1 mm per component, drawn per episode, and noisy by 0.2 mm.
    `"pixels"`: a camera at the side, (96, 96, 3) uint8. `"pixels_agent_pos"`: with `agent_pos` (7,).

    ## Reward
    `"sparse"`: 1 on the step of a verified success, else 0. `"dense"`: up to 0.2 for nearness, up to 0.8 for length.

    ## Starts
    Tip 4 to 8 mm before the slot, +- 1 mm aside, turned by +- 3 deg about y and z (`"ood"`: 2 mm, 5 deg); grip uniform in
    21 to 55 mm. `reset(options={"start": {"tip": [x, y, z], "turn": [rx, ry, rz], "grip": d}})` asks for an exact start.
    Each episode draws the friction (0.15 +- 20 %).

    ## Episode end
    When 16.1 mm of strap are beyond the head, the policy's turn is over; the verifier lets go and pulls the strap back with
    10 N for 0.5 s: at least 15 mm must be left. That verdict is final (terminated). A strap that runs beside the head counts
    for nothing. Violations terminate with reward 0: more than 40 N for 0.1 s (`force_limit`), 80 mm from the start
    (`out_of_workspace`), a strap that fell (`strap_dropped`), penetration above 0.5 mm (`penetration`). Truncated after 600 steps (20 s).

    `info["score"]`: a quarter per stage: `tip_in`, `through`, `pulled` (15 mm), `locked` (verified). `info["past"]`, `info["lateral"]` (the tip off the slot's axis) [m].

    ## Arguments
    `obs_type`, `reward_type`, `sensing`, `starts`, `render_mode`, `observation_width`, `visualization_width`,
    `max_episode_steps`.

    ## Version history
    v0: first release. Source: ENPIRE (arXiv 2606.19980), whose zip ties exist only as hardware.
    """

    task: TieZipTie
    cell: SimCell

    def __init__(self, *, sensing: Literal["noisy", "ideal"] = "noisy", **options: Unpack[CellOptions]) -> None:
        choose("sensing", sensing, ("noisy", "ideal"))
        task = TieZipTie(sensing)
        super().__init__(task, SimCell(TieScene(), task.control_hz), **options)

    def brief(self) -> str:
        """Controller, senses and geometry, as Markdown (see `enpire_envs.brief`)."""
        return describe(self.task, self.cell.scene.build(), self._obs_type)
