"""`ENPIRE/CutZipTie-v0`."""

from __future__ import annotations

from typing import Literal, Unpack

from enpire_envs.cut_zip_tie.brief import describe
from enpire_envs.cut_zip_tie.scene import CutScene
from enpire_envs.cut_zip_tie.task import CutZipTie
from enpire_envs.env import CellEnv, CellOptions, choose
from enpire_envs.sim import SimCell


class CutZipTieEnv(CellEnv):
    """Cut the tail of a tied zip tie close to its head, without cutting the loop.

    ## Description
    A zip tie sits round a bundle of cables. Its tail (50 mm, 3.6 x 1.4 mm, flexible where it leaves the head, turned by up to 10
    degrees) must come off so that a stub of 2 to 12 mm is left. The gripper holds a cutter with a fixed lower and a hinged
    upper blade of 18 mm; its plane is across the tail, its blades point along -y. With `start="table"` the cutter lies on a
    stand and must be grasped first. A strap parts where both blades press on it with 25 N: at the tail, or at the loop if
    that is what is between them. A stub shorter than 2 mm is not held by the head's tooth and slips out of it.

    Frame: origin where the tail leaves the head; x along the tail, z up. Rotations are the end effector's hinge angles.

    ## Action space
    `Box(-1, 1, (7,), float32)`, 30 Hz.

    | i | action | range | unit |
    |---|---|---|---|
    | 0-2 | displacement of the end effector's target along x, y, z | [-1, 1] | x 0.5 mm per step |
    | 3-5 | rotation about x, y, z | [-1, 1] | x 0.4 deg per step |
    | 6 | jaw: above 0 closes, below 0 opens | [-1, 1] | x 0.04 rad per step |

    Before the cutter is grasped, action 6 moves the gripper instead (a quarter of its stroke per step). Fingers that close on
    the cutter within 4 mm and 12 degrees of its handle keep hold of it to the end of the episode.

    ## Observation space
    `obs_type="state"`: `Box((26,), float32)`, SI units.

    | i | observation | unit |
    |---|---|---|
    | 0-5 | end effector relative to its start: x, y, z, rotation | m, rad |
    | 6 | jaw angle, 0 closed to 0.6 (0.55 at the start) | rad |
    | 7 | torque of the jaw's drive, negative while it presses | Nm |
    | 8 | 1 while the gripper holds the cutter | - |
    | 9-14 | wrench at the gripper: force, torque | N, Nm |
    | 15-17 | middle of the lower blade's edge relative to the start (estimated with `start="table"`) | m |
    | 18 | yaw of the cutter | rad |
    | 19-21 | estimated position of where the tail leaves the head, relative to the start; one look | m |
    | 22-24 | estimated position of the tail's tip relative to the start | m |
    | 25 | valid: 0 once the tip has fallen (the last estimate is repeated) | - |

    With `sensing="noisy"` each estimate is off by up to 1 mm per component, drawn per episode, and what is looked at again is
    noisy by 0.2 mm. `"pixels"`: a camera at the side, (96, 96, 3) uint8. `"pixels_agent_pos"`: with `agent_pos` (7,).

    ## Reward
    `"sparse"`: 1 on the step of a verified success, else 0. `"dense"`: up to 0.4 for nearness of the blades to the middle of
    the allowed stub, 0.2 for closing there, 0.7 to 1 after the cut as the pieces separate.

    ## Starts
    Blades about 20 mm before the tail, +- 12 mm along it, +- 8 mm up, turned by +- 3 deg; the tail +- 6 deg up, +- 10 deg aside
    (`"ood"`: 18 mm, 12 mm, 6 deg; 12 deg, 20 deg). `reset(options={"start": {"pose": [x, y, z, rx, ry, rz], "tail": [up, aside]}})` (and
    `"cutter": [x, y, yaw]` with `start="table"`) asks for an exact start. Each episode draws the friction (+- 20 %).

    ## Episode end
    After a cut that leaves 2 to 12 mm, once the blades are open (0.35 rad) and the pieces more than 5 mm apart, the verifier
    lets loose things fall and pulls the stub with 10 N: the pieces must be apart and the stub in place. That verdict is final
    (terminated). Two failures are final too: `loop_cut` and `cut_too_close`. A tail cut too long may be cut again. Violations terminate
    with reward 0: more than 40 N for 0.1 s (`force_limit`), 120 mm from the start (`out_of_workspace`), penetration above
    0.5 mm (`penetration`). Truncated after 600 steps (20 s).

    `info["score"]`: a quarter per stage: `grasped`, `at_tail`, `closed`, `severed` (verified). `info["stub"]`, `info["gap"]` [m].

    ## Arguments
    `start` ("held" or "table"), `obs_type`, `reward_type`, `sensing`, `starts`, `render_mode`, `observation_width`,
    `visualization_width`, `max_episode_steps`.

    ## Version history
    v0: first release. Source: ENPIRE (arXiv 2606.19980), whose zip ties exist only as hardware.
    """

    task: CutZipTie
    cell: SimCell

    def __init__(
        self,
        *,
        start: Literal["held", "table"] = "held",
        sensing: Literal["noisy", "ideal"] = "noisy",
        **options: Unpack[CellOptions],
    ) -> None:
        choose("start", start, ("held", "table"))
        choose("sensing", sensing, ("noisy", "ideal"))
        lying = start == "table"
        task = CutZipTie(sensing, lying)
        super().__init__(task, SimCell(CutScene(lying), task.control_hz), **options)

    def brief(self) -> str:
        """Controller, senses and geometry, as Markdown (see `enpire_envs.brief`)."""
        return describe(self.task, self.cell.scene.build(), self._obs_type)
