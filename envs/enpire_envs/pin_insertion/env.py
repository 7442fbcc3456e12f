"""`ENPIRE/PinInsertion-v0` and its ranked levels."""

from __future__ import annotations

from dataclasses import replace
from typing import Literal, Unpack

from enpire_envs.env import CellEnv, CellOptions, choose
from enpire_envs.pin_insertion.brief import describe
from enpire_envs.pin_insertion.by_image import PinInsertionByImage
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
    debugging, the others are made to be ranked.

    | | `intro`: `ENPIRE/PinInsertion-v0` | `state`: `ENPIRE/PinInsertion-State-v0` |
    |---|---|---|
    | time limit | 600 steps (20 s) | 240 steps (8 s) |
    | clearance (hole less pin diameter) | 0.1 mm | 0.05 to 0.1 mm |
    | step at the pin's tip | 0.5 mm high and wide | none: a square edge |
    | friction | 0.24 to 0.36 | 0.24 to 0.375, times the station's 0.83 to 1.2 |
    | stiffness of the end effector | as above | as above, +- 17 %, times the station's 0.9 to 1.1 |
    | the pin's tip in the gripper | where it should be | off by up to 1 mm, and by up to 0.5 mm more that stays at a station; the pin tilted \
by up to 2 degrees |
    | delay of actions | none | 1 to 3 control periods |
    | end effector's position | exact | joint encoders: 0.3 mm backlash (the station's 0.8 to 1.2 times that), an unseen flex of 0.02 mm/N, an \
error of 0.2 to 0.3 mm that changes with the position over a wave of 20 mm, 0.1 mm noise |
    | its rotation (`tilt="hard"`) | exact | the same: 3 mrad, 5 mrad/Nm, 2 to 4 mrad over 0.2 rad, 1.5 mrad |
    | wrench | wrist sensor: 0.15 N and 3 mNm bias, 0.1 N and 2 mNm noise | joint torques: 0.5 N and 10 mNm bias, drifting by 0.2 N and \
4 mNm per root second; changes below 0.5 N and 10 mNm are not felt; 30 ms lag; 0.5 N and 10 mNm noise |
    | hole estimate | one look per episode, error uniform in a 2 mm disc | every 3 steps, 3 steps old; an error below 2 mm that wanders \
within 3 s; 10 % of looks fail (`valid` 0, the last estimate stays), 3 % are wrong by 3 to 8 mm and say `valid` 1 |

    The hole estimate takes for granted that the pin sits in the gripper as it should. The other levels have none: they are seen by the wrist
    camera alone, and are otherwise as `state` but for this:

    | | `standard`: `ENPIRE/PinInsertion-Standard-v0` | `expert`: `ENPIRE/PinInsertion-Expert-v0` | `fleet`: `ENPIRE/PinInsertion-Fleet-v0` |
    |---|---|---|---|
    | time limit | 240 steps (8 s) | 240 steps (8 s) | 240 steps (8 s) |
    | force guard | 1 N | 1 N | 1 N |
    | `tilt` | "easy" | "hard": the gripper is tilted by up to 3 degrees and can be turned | "easy" |
    | clearance | 0.05 to 0.1 mm | 0.05 mm | 0.05 to 0.1 mm |
    | friction | 0.24 to 0.375 | 0.264 to 0.413 | 0.24 to 0.375 |
    | starts | "id" | three in ten from "ood" | "id" |
    | stains and screw heads on the plate | none | 8 | none |
    | light of an episode | 0.7 to 1.2 times, tinted by 5 %, turned by 15 degrees | 0.5 to 1.3 times, 10 %, 25 degrees | as `standard` |
    | colours of an episode | 5 % off | 10 % off | 5 % off |
    | camera, knocked between episodes | by 1 mm along each axis and 0.3 degrees | by 3 mm and 1 degree | as `standard` |
    | pictures (see Pictures) | blurred by 0.5 to 1.2 px; distorted by up to 3 %; corners 10 to 30 % darker; \
exposure 0.85 to 1.15 times, colours 5 %, flicker 3 %; noise 2 in the dark and 5 by full light, of 255; 1 to 2 control periods old | blurred by 0.7 to 1.5 px; flicker 5 %; noise 3 and 7; else as `standard` | \
distorted by up to 5 %; corners 5 to 40 % darker; \
exposure 0.75 to 1.25 times; else as `standard` |
    | a station: friction, stiffness, backlash | times 0.83 to 1.2, 0.9 to 1.1, 0.8 to 1.2 | as `standard` | times 0.6 to 1.6, 0.7 to 1.4, 0.5 to 2 |
    | a station: the pin's tip in the gripper | 0.5 mm off | 0.5 mm off | 1.5 mm off |
    | a station: further delay | none | none | 0 or 1 control period |
    | a station: distance of the holes, their grid turned by up to | 13 to 17 mm, 20 degrees | as `standard` | 12 to 18 mm, 45 degrees |
    | a station: light, tint, its direction, colours | 0.8 to 1.1 times, 5 %, 20 degrees, 15 % | as `standard` | 0.6 to 1.2 times, 10 %, 30 \
degrees, 20 % |
    | a station: camera | off by 2 mm along each axis and 1.5 degrees | as `standard` | 4 mm and 3 degrees |

    At every level but `intro` stations differ. A run of `fleet` meets another station in every cell, and none of them again in its held-out
    episodes. `station_seed`, or the reset option `station`, says which it is.

    **Force guard** (the paper's): while the end effector is higher than 6.5 mm below its start, which is until the pin is at least 1.5 mm in,
    an action that goes down is carried out without its z as long as the last observed force along z is above the guard. Both are as they were last
    observed, errors and lag included, and are asked when the action is given: what is under way already still arrives.

    **Which hole?** The one nearest to the pin's tip at the start, seen along the pin: the tip starts within 4 mm of its axis, and the next hole is
    at least 12 mm away. All nine look alike. Stains are brown and screw heads bright; they lie at least 5 mm from the target's axis.

    Frame: x, y, z of the end effector relative to its start; z up, along the hole.

    ## Action space
    `Box(-1, 1, (3,), float32)`, 30 Hz.

    | i | action | range | unit |
    |---|---|---|---|
    | 0-1 | displacement of the end effector's target along x, y | [-1, 1] | x 0.3 mm per step (9 mm/s) |
    | 2 | the same along z | [-1, 1] | x 0.6 mm per step (18 mm/s) |
    | 3-5 | only with `tilt="hard"`: the angles of Rx Ry Rz | [-1, 1] | x 0.2 deg per step |

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

    With `sensing="noisy"` all of it is sensed as the level says; with `"ideal"` it is exact. At `intro` also `"pixels"`: a camera that stands beside
    the hole, (96, 96, 3) uint8; `"pixels_agent_pos"`: with `agent_pos` (3,).

    `standard`, `expert` and `fleet` offer `"pixels_agent_pos"` alone. `pixels`, (96, 96, 3) uint8, is what a camera on the gripper sees, 35 mm behind
    and 60 mm above the pin's tip, about at which it looks (24 degrees, about 0.3 mm a pixel): the pin stands still in the picture, and the
    holes move. Right in the picture is +x, up is +y. `agent_pos` is (14,):

    | i | observation | unit |
    |---|---|---|
    | 0 | height of the end effector above its start | m |
    | 1-6 | its rotation since the start: the first two columns of the rotation matrix | - |
    | 7 | gripper opening (closed: 0) | - |
    | 8-10 | force that the surroundings exert on the pin | N |
    | 11-13 | torque at the gripper | Nm |

    ## Pictures
    A real camera's (`enpire_envs.camera_model`): `standard`, `expert` and `fleet` draw blur (a round Gaussian's std in a picture of 96 px), exposure, the factor of
    each colour, a slow flicker (0.5 to 2 s) and the age of what is seen per episode; radial distortion (at half the picture's width, either way) and vignetting per
    station. Noise is new in each frame: its std in the dark, and what full light adds. Larger pictures, films included, carry no more. `sensing="ideal"` is clean.

    ## Reward
    `"sparse"`: 1 on the step of a verified success, else 0. `"dense"`: that plus gamma Phi(s') - Phi(s), potential-based shaping
    (`enpire_envs.shaping`): finishing returns more than stopping part-way, than going to and fro and than failing, discounted by `gamma`
    (per step; 0.99; learn with the same) or not. Phi is 0 after the end of an episode, else in proportion: up to 0.1 for nearness and 0.9 for insertion.

    ## Starts
    Tip 4 to 5 mm above the plate; offset uniform in a 2 mm disc (`"ood"`: 3 mm), tilt uniform in a 1 degree disc (`"ood"`:
    2; `tilt="hard"`: 3, `"ood"` 5). `reset(options={"start": {"tip": [x, y, z], "tilt": [rx, ry], "hole": [i, j]}})` asks for
    an exact start. Verdict and safety use the truth.

    | part | what | unit, frame |
    |---|---|---|
    | `tip` | the middle of the pin's tip, however the pin sits in the gripper | m; from the target hole's axis at the plate's top, z up |
    | `tilt` | the gripper's rotation, Rx Ry | rad; 0 is upright |
    | `hole` | the target's column (along x) and row (along y) | 0 to 2; the middle one is 1 |

    ## Episode end
    When the pin's axis is inside the hole and at least 18 mm deep, the policy's turn is over; the verifier stops pressing and
    holds for 0.5 s. The pin must stay 18 mm deep inside the bore with less than 10 N on it and no penetration above
    0.5 mm. That verdict is final (terminated). Violations terminate without success: end effector more than 15 mm sideways,
    70 mm down or 3 mm up from its start (`out_of_workspace`), more than 40 N for 0.1 s (`force_limit`), penetration
    above 0.5 mm (`penetration`). Truncated at the level's time limit.

    `info["score"]`: a quarter per stage: `contact`, `tip_in` (1 mm deep), `half_in` (10 mm), `success`. `info["insertion"]`,
    `info["lateral"]` (the tip off the hole's axis) [m], `info["force"]` [N].

    ## Arguments
    `level` ("intro", "state", "standard", "expert", "fleet"), `clearance` (hole less pin diameter, 0.00005 to 0.0002 m) and `tilt` ("easy",
    "hard"; None for the level's), `station_seed`, `obs_type`, `reward_type`, `gamma`, `sensing`, `starts`, `render_mode`, `observation_width`,
    `visualization_width`, `max_episode_steps`.

    ## Version history
    v0: first release. Source: ENPIRE (arXiv 2606.19980), whose pins and holes exist only as hardware. Steady contact
    penetration is about 0.03 mm at 15 N, so clearances below 0.05 mm are not offered.
    """

    task: PinInsertion
    cell: SimCell

    def __init__(
        self,
        *,
        level: Literal["intro", "state", "standard", "expert", "fleet"] = "intro",
        clearance: float | None = None,
        tilt: Literal["easy", "hard"] | None = None,
        sensing: Literal["noisy", "ideal"] = "noisy",
        **options: Unpack[CellOptions],
    ) -> None:
        choose("level", level, LEVELS)
        choose("sensing", sensing, ("noisy", "ideal"))
        numbers = LEVELS[level]
        tilt = numbers.tilt if tilt is None else tilt
        choose("tilt", tilt, ("easy", "hard"))
        if clearance is not None:
            if not 5e-5 <= clearance <= 2e-4:
                raise ValueError(f"clearance {clearance}: choose 0.00005 to 0.0002 m")
            numbers = replace(numbers, clearance=(clearance, clearance))
        scene, kind = PinScene(numbers), PinInsertionByImage if numbers.view else PinInsertion
        task = kind(numbers, sensing, tilt)
        installed = (scene, task) if numbers.station else ()
        camera = numbers.camera if sensing == "noisy" else None
        super().__init__(task, SimCell(scene, task.control_hz), installed=installed, camera=camera, **options)

    def brief(self) -> str:
        """Controller, senses and geometry at this level, as Markdown (see `enpire_envs.brief`)."""
        return describe(self.task, PinScene(self.task._level).build(), self._obs_type)
