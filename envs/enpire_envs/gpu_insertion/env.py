"""`ENPIRE/GPUInsertion-v0`."""

from __future__ import annotations

from typing import Literal, Unpack

from enpire_envs.env import CellEnv, CellOptions, choose
from enpire_envs.gpu_insertion.brief import describe
from enpire_envs.gpu_insertion.scene import CardScene
from enpire_envs.gpu_insertion.task import GPUInsertion
from enpire_envs.sim import SimCell


class GPUInsertionEnv(CellEnv):
    """Seat a card in its slot: line both ends up, push through the sprung rails, and on until the latch snaps.

    ## Description
    The gripper holds a card whose edge connector (84 x 1.6 mm) must go 9 mm deep into a slot that is 0.3 mm wider and
    0.5 mm longer, with a 0.5 mm lead-in. Two force stages are physical: sprung rails grip the edge (about 20 N at 4 mm)
    and a sprung nose gives way to the card's tab (about 28 N) and snaps back over it; pulling the card out again takes
    about 40 N. The end effector is compliant (2500 N/m, 60 Nm/rad, at most 25 N sideways and 90 N down).

    Frame: x along the slot, y across it, z up. Rotations are the end effector's hinge angles (about x, y, z), which for
    these small angles are its rotation vector.

    ## Action space
    `Box(-1, 1, (6,), float32)`, 30 Hz.

    | i | action | range | unit |
    |---|---|---|---|
    | 0-1 | displacement of the end effector's target along x, y | [-1, 1] | x 0.25 mm per step |
    | 2 | the same along z | [-1, 1] | x 0.4 mm per step |
    | 3-5 | rotation about x, y, z | [-1, 1] | x 0.2 deg per step |

    Displacements add up on the last *commanded* pose, so pressing is commanding a pose below the one reached.

    ## Observation space
    `obs_type="state"`: `Box((68,), float32)`, SI units.

    | i | observation | unit |
    |---|---|---|
    | 0-5 | end effector relative to its start: x, y, z, rotation | m, rad |
    | 6-11 | wrench that the surroundings exert on the card: force, torque at the gripper | N, Nm |
    | 12-17 | estimated pose at which the edge stands straight at the slot's mouth, relative to the start; one look | m, rad |
    | 18 | age of that estimate, in units of 20 s | - |
    | 19 | valid: 1 | - |
    | 20-67 | the last 8 wrenches, oldest first | N, Nm |

    With `sensing="noisy"` the estimate is off by up to 1 mm and 1 degree per component, drawn per episode, and the wrench
    has drift and noise. `"pixels"`: a camera at the side, (96, 96, 3) uint8. `"pixels_agent_pos"`: with `agent_pos` (6,).

    ## Reward
    `"sparse"`: 1 on the step of a verified success, else 0. `"dense"`: up to 0.1 for nearness, up to 0.9 for depth.

    ## Starts
    Edge within +- 3 mm along x and y, its lowest point 0.2 to 3 mm above the mouth, turned by up to 3 degrees about each axis
    (`"ood"`: 1.5 times all of it). `reset(options={"start": {"edge": [x, y, z], "turn": [rx, ry, rz]}})` (the edge's middle,
    from the slot's mouth) asks for an exact start. Each episode draws the friction (0.2 +- 20 %).

    ## Episode end
    When both ends are at least 8.7 mm deep and the latch has snapped, the policy's turn is over; the verifier stops pressing,
    pulls with 10 N for 0.5 s, and looks again: latch in place, both ends at least 8.0 mm deep, no penetration above 0.5 mm.
    That verdict is final (terminated). Violations terminate with reward 0: more than 60 N for 0.1 s (`force_limit`),
    50 mm sideways, 140 mm down or 30 mm up (`out_of_workspace`), penetration above 0.5 mm (`penetration`). Truncated
    after 600 steps (20 s).

    `info["score"]`: a quarter per stage: `contact`, `aligned` (both ends 1 mm deep), `seated` (8.7 mm), `latched` (verified).
    `info["seated"]`, `info["lateral"]` (the end that is farther across off the slot's middle) [m], `info["latch"]`, `info["force"]` [N].

    ## Arguments
    `obs_type`, `reward_type`, `sensing`, `starts`, `render_mode`, `observation_width`, `visualization_width`,
    `max_episode_steps`.

    ## Version history
    v0: first release. Source: ENPIRE (arXiv 2606.19980), whose board and card exist only as hardware.
    """

    task: GPUInsertion
    cell: SimCell

    def __init__(
        self,
        *,
        sensing: Literal["noisy", "ideal"] = "noisy",
        **options: Unpack[CellOptions],
    ) -> None:
        choose("sensing", sensing, ("noisy", "ideal"))
        task = GPUInsertion(sensing)
        super().__init__(task, SimCell(CardScene(), task.control_hz), **options)

    def brief(self) -> str:
        """Controller, senses and geometry, as Markdown (see `enpire_envs.brief`)."""
        return describe(self.task, self.cell.scene.build(), self._obs_type)
