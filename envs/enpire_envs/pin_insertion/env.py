"""`ENPIRE/PinInsertion-v0` and its ranked levels."""

from __future__ import annotations

from dataclasses import replace
from typing import Literal, Unpack

from enpire_envs.env import CellEnv, CellOptions, choose
from enpire_envs.pin_insertion.brief import describe
from enpire_envs.pin_insertion.levels import LEVELS
from enpire_envs.pin_insertion.scene import PinScene
from enpire_envs.pin_insertion.task import PinInsertion
from enpire_envs.sim import SimCell


class PinInsertionEnv(CellEnv):
    """Insert a pin into a hole that is 0.1 mm wider and seen only to within 2 mm.

    ## Description
    A pin box holds a 3 x 3 grid of holes, 4.0 mm wide and 20 mm deep; one of them, drawn at random, is the target. The
    gripper already holds a pin of 3.9 mm or a little more (30 mm below the fingers) above it, off by up to 2 mm and tilted by up to 1 degree. The
    hole's position is known only to within 2 mm, so aligning to the estimate is not enough: searching, or feeling the rim, is the
    task. The end effector is compliant (1500 N/m, 6 Nm/rad, at most 25 N sideways and 60 N along the pin); a tilted or hurried pin
    jams.

    ## Levels
    The id, or `level`, decides the numbers of an episode. What is a range is drawn per episode, uniformly. `intro` is for tutorials and
    debugging, `state` is made to be ranked.

    | | `intro`: `ENPIRE/PinInsertion-v0` | `state`: `ENPIRE/PinInsertion-State-v0` |
    |---|---|---|
    | time limit | 600 steps (20 s) | 240 steps (8 s) |
    | clearance (hole less pin diameter) | 0.1 mm | 0.05 to 0.1 mm |
    | step at the pin's tip | 0.5 mm high and wide | none: a square edge |
    | friction | 0.24 to 0.36 | 0.2 to 0.45 |
    | stiffness of the end effector | as above | as above, +- 25 % |
    | the pin's tip in the gripper | where it should be | off by up to 1 mm; the pin tilted by up to 2 degrees |
    | delay of actions | none | 1 to 3 control periods |
    | end effector's position | exact | joint encoders: 0.1 mm backlash, an unseen flex of 0.02 mm/N, an error of 0.2 to 0.3 mm \
that changes with the position over a wave of 20 mm, 0.03 mm noise |
    | its rotation (`tilt="hard"`) | exact | the same: 1 mrad, 5 mrad/Nm, 2 to 4 mrad over 0.2 rad, 0.5 mrad |
    | wrench | wrist sensor: 0.15 N and 3 mNm bias, 0.1 N and 2 mNm noise | joint torques: 0.5 N and 10 mNm bias, drifting by 0.2 N and \
4 mNm per root second; changes below 0.5 N and 10 mNm are not felt; 30 ms lag; 0.5 N and 10 mNm noise |
    | hole estimate | one look per episode, error uniform in a 2 mm disc | every 3 steps, 3 steps old; an error below 2 mm that wanders \
within 3 s; 10 % of looks fail (`valid` 0, the last estimate stays), 3 % are wrong by 3 to 8 mm and say `valid` 1 |

    The hole estimate takes for granted that the pin sits in the gripper as it should.

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
    | 10-11 | estimated hole position relative to the start (see Levels) | m |
    | 12 | age of that estimate, in units of 20 s | - |
    | 13 | valid: 1, or 0 where the last look failed | - |
    | 14-69 | the last 8 steps, oldest first, of wrench (6) and height (1) | N, Nm, m |

    With `sensing="noisy"` all of it is sensed as the level says; with `"ideal"` it is exact. `"pixels"`: a camera at the wrist, (96, 96, 3) uint8. `"pixels_agent_pos"`: with `agent_pos` (3,).

    ## Reward
    `"sparse"`: 1 on the step of a verified success, else 0. `"dense"`: up to 0.1 for nearness, up to 0.9 for insertion.

    ## Starts
    Tip 4 to 5 mm above the plate; offset uniform in a 2 mm disc (`"ood"`: 3 mm), tilt uniform in a 1 degree disc (`"ood"`:
    2; `tilt="hard"`: 3, `"ood"` 5). `reset(options={"start": {"tip": [x, y, z], "tilt": [rx, ry], "hole": [i, j]}})` with the
    target hole's axis as origin asks for an exact start: of the tip, and of the gripper's tilt. Verdict and safety use the truth.

    ## Episode end
    When the pin's axis is inside the hole and at least 18 mm deep, the policy's turn is over; the verifier stops pressing and
    holds for 0.5 s. The pin must stay 18 mm deep inside the bore with less than 10 N on it and no penetration above
    0.5 mm. That verdict is final (terminated). Violations terminate with reward 0: end effector more than 15 mm sideways,
    70 mm down or 3 mm up from its start (`out_of_workspace`), more than 40 N for 0.1 s (`force_limit`), penetration
    above 0.5 mm (`penetration`). Truncated at the level's time limit.

    `info["score"]`: a quarter per stage: `contact`, `tip_in` (1 mm deep), `half_in` (10 mm), `success`. `info["insertion"]`
    [m], `info["force"]` [N].

    ## Arguments
    `level` ("intro", "state"), `clearance` (hole less pin diameter, 0.00005 to 0.0002 m; None for the level's), `tilt` ("easy", "hard"), `obs_type`, `reward_type`,
    `sensing`, `starts`, `render_mode`, `observation_width`, `visualization_width`, `max_episode_steps`.

    ## Version history
    v0: first release. Source: ENPIRE (arXiv 2606.19980), whose pins and holes exist only as hardware. Steady contact
    penetration is about 0.03 mm at 15 N, so clearances below 0.05 mm are not offered.
    """

    task: PinInsertion
    cell: SimCell

    def __init__(
        self,
        *,
        level: Literal["intro", "state"] = "intro",
        clearance: float | None = None,
        tilt: Literal["easy", "hard"] = "easy",
        sensing: Literal["noisy", "ideal"] = "noisy",
        **options: Unpack[CellOptions],
    ) -> None:
        choose("level", level, LEVELS)
        choose("tilt", tilt, ("easy", "hard"))
        choose("sensing", sensing, ("noisy", "ideal"))
        numbers = LEVELS[level]
        if clearance is not None:
            if not 5e-5 <= clearance <= 2e-4:
                raise ValueError(f"clearance {clearance}: choose 0.00005 to 0.0002 m")
            numbers = replace(numbers, clearance=(clearance, clearance))
        task = PinInsertion(numbers, sensing, tilt)
        super().__init__(task, SimCell(PinScene(numbers), task.control_hz), **options)

    def brief(self) -> str:
        """Controller, senses and geometry at this level, as Markdown (see `enpire_envs.brief`)."""
        return describe(self.task, self.cell.scene.build(), self._obs_type)
