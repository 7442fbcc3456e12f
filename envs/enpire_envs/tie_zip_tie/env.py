"""`ENPIRE/TieZipTie-v0` and its ranked levels."""

from __future__ import annotations

from typing import Literal, Unpack

from enpire_envs.env import CellEnv, CellOptions, choose
from enpire_envs.sim import SimCell
from enpire_envs.tie_zip_tie.brief import describe
from enpire_envs.tie_zip_tie.levels import LEVELS
from enpire_envs.tie_zip_tie.scene import TieScene
from enpire_envs.tie_zip_tie.task import TieZipTie


class TieZipTieEnv(CellEnv):
    """Thread a zip tie's strap through its head and pull until the ratchet holds 15 mm of it.

    ## Description
    The gripper holds a flexible strap (16 hinged links of 10 mm, 3.6 x 1.4 mm) between 21 and 55 mm from its tip, in front
    of a fixed head whose slot is up to 0.8 mm wider than the strap and 5 mm long. The slot is a one-way ratchet with 1 mm teeth: what
    went in does not come out. A grasp close to the tip cannot push enough strap through; the gripper must open, go back (or
    round to the other side), and grasp again. Fingers that close on the strap hold it by a weld until they open. A strap that is pushed
    from far behind, or while it is bent, buckles.

    ## Levels
    The id, or `level`, decides the numbers of an episode. What is a range is drawn per episode, uniformly. `intro` is for tutorials and
    debugging, the others are made to be ranked.

    | | `intro`: `ENPIRE/TieZipTie-v0` | `state`: `ENPIRE/TieZipTie-State-v0` |
    |---|---|---|
    | time limit | 600 steps (20 s) | 450 steps (15 s) |
    | slot less strap | 0.8 mm | 0.5 to 0.8 mm |
    | tip aside of the slot, and up or down; gripper turned about y and z | 1 mm, 3 degrees | 6 mm, 5 degrees |
    | the head | at the frame's origin, its slot along x | displaced by up to 3 mm along each axis, turned by up to 6 degrees about y and z |
    | strap at rest | straight | bent evenly by up to 1.5 degrees per 10 mm up or down and 0.5 sideways, each joint by 0.5 more |
    | strap in the fingers | straight | turned by up to 3 degrees up or down, and sideways |
    | stiffness of the strap | 0.02 Nm/rad per joint up and down, 0.12 sideways | the same, times 0.8 to 1.4 |
    | the ratchet's pawl holds back with | nothing | 0.2 to 0.7 N |
    | friction | 0.12 to 0.18 | 0.1 to 0.225 |
    | stiffness of the end effector | 1500 N/m, 6 Nm/rad | the same, times 0.75 to 1.25 |
    | delay of actions | none | 1 to 3 control periods |
    | end effector's position | exact | joint encoders: 0.1 mm backlash, an unseen flex of 0.02 mm/N, an error of 0.2 to 0.3 mm that changes with \
the position over a wave of 20 mm, 0.03 mm noise |
    | its rotation | exact | the same: 1 mrad, 5 mrad/Nm, 2 to 4 mrad over 0.2 rad, 0.5 mrad |
    | wrench | wrist sensor: 0.15 N and 3 mNm bias, 0.1 N and 2 mNm noise | joint torques: 0.5 N and 10 mNm bias, drifting by 0.2 N and 4 mNm \
per root second; changes below 0.5 N and 10 mNm are not felt; 30 ms lag; 0.5 N and 10 mNm noise |
    | head and tip | head in one look, tip in each step, both off by up to 1 mm per component | looks every 3 steps, 3 steps old; off by up to \
1.5 mm and 0.06 rad, an error that wanders within 3 s; 10 % of looks fail, 3 % are wrong by 1.5 to 4 times as much and say `valid` 1 |
    | where the head hides the tip | from 1 mm before the slot to its end, at once | inside the head from a depth of 0 to 1.5 mm on, drawn for either end (3 mm further out to \
1.5 mm in aside and up or down) and 0.3 mm (std) from look to look; as late as an estimate |
    | length beyond the head | 0.4 mm noise | 0.5 mm bias, 0.5 mm noise, 3 steps old |

    The other levels have no estimates: a policy has two views and proprioception. They are as `state` but for this:

    | | `standard`: `ENPIRE/TieZipTie-Standard-v0` | `expert`: `ENPIRE/TieZipTie-Expert-v0` | `fleet`: `ENPIRE/TieZipTie-Fleet-v0` |
    |---|---|---|---|
    | time limit | 450 steps (15 s) | 450 steps (15 s) | 450 steps (15 s) |
    | slot less strap | 0.5 to 0.8 mm | 0.4 to 0.6 mm | 0.5 to 0.8 mm |
    | starts | "id" | one in four from "ood" | "id" |
    | the head displaced, turned | 3 mm, 6 degrees | 4 mm, 8 degrees | 3 mm, 6 degrees |
    | strap at rest, per 10 mm | 1.5, 0.5 and 0.5 degrees | 3, 1 and 1 degrees; one joint near the tip kinked by up to 12 more | as `standard` |
    | a joint bent too far | springs back | keeps what is beyond 0.2 rad | springs back |
    | pawl | 0.2 to 0.7 N | 0.3 to 0.8 N | 0.2 to 0.7 N |
    | another zip tie on the bench | no | yes | no |
    | light of an episode | 0.7 to 1.25 times, tinted by 8 %, turned by 15 degrees | 0.5 to 1.4 times, 12 %, 25 degrees | as `standard` |
    | cameras, knocked between episodes | by 1 mm along each axis and 0.3 degrees | by 3 mm and 1 degree; colours 5 % off | as `standard` |
    | pictures (see Pictures) | blurred by 0.5 to 1.2 px; distorted by up to 3 %; corners 10 to 30 % darker; \
exposure 0.85 to 1.15 times, colours 5 %, flicker 3 %; noise 2 in the dark and 5 by full light, of 255; 1 to 2 control periods old | blurred by 0.7 to 1.5 px; flicker 5 %; noise 3 and 7; else as `standard` | \
distorted by up to 5 %; corners 5 to 40 % darker; \
exposure 0.75 to 1.25 times; else as `standard` |

    At every level but `intro` stations differ, on top of what episodes draw: friction times 0.85 to 1.2, pawl 0.8 to 1.25, stiffness of the end
    effector 0.9 to 1.1, backlash 0.7 to 1.4; the head displaced by up to 2 mm and turned by 2 degrees; estimates off by 0.5 mm; light 0.85 to 1.1
    times, 5 % tint, 15 degrees, colours 10 % off, cameras off by 1 mm and 0.5 degrees. At `fleet` they differ more: 0.6 to 1.7, 0.6 to 1.4, 0.7 to
    1.4, 0.5 to 3; 4 mm and 5 degrees; light 0.75 to 1.15 times, 7 %, 20 degrees, colours 15 %, cameras 4 mm and 2 degrees. A run of `fleet` meets
    another station in every cell, and none of them again in its held-out episodes. `station_seed`, or the reset option `station`, says which.

    Frame: at `intro` x along the slot, in the strap's direction; z up. At the other levels the station's, from which the head differs as
    above. Rotations are the end effector's hinge angles.

    ## Action space
    `Box(-1, 1, (7,), float32)`, 30 Hz.

    | i | action | range | unit |
    |---|---|---|---|
    | 0-1 | displacement of the end effector's target along x, y | [-1, 1] | x 0.25 mm per step |
    | 2 | the same along z | [-1, 1] | x 0.4 mm per step |
    | 3-5 | rotation about x, y, z | [-1, 1] | x 0.2 deg per step |
    | 6 | gripper: above 0 closes, below 0 opens | [-1, 1] | a quarter of the stroke per step |

    ## Observation space
    `obs_type="state"`: `Box((22,), float32)` at `intro`, `Box((29,), float32)` at `state`, SI units.

    | i | observation | unit |
    |---|---|---|
    | 0-5 | end effector relative to its start: x, y, z, rotation | m, rad |
    | 6 | gripper opening, 0 closed to 1 open | - |
    | 7 | 1 while the fingers hold the strap | - |
    | 8-13 | wrench at the gripper: force, torque | N, Nm |
    | 14-16 | estimated position of the slot's entrance relative to the end effector's start | m |
    | 17-19 | estimated position of the strap's tip relative to the end effector's start | m |
    | 20 | valid: 0 while the head hides the tip, or at `state` where the last look at it failed (the last estimate is repeated) | - |
    | 21 | length of strap beyond the head, as the camera sees it | m |
    | 22-23 | only at `state`: the head's estimated turn about y and z | rad |
    | 24-25 | only at `state`: age of the head's estimate, and its `valid` | s, - |
    | 26-27 | only at `state`: estimated turn of the strap's last link about y and z | rad |
    | 28 | only at `state`: age of the tip's estimate | s |

    With `sensing="noisy"` all of it is sensed as the level says (at `intro` what is looked at again is noisy by 0.2 mm); with `"ideal"` it is exact. At
    `intro` also `"pixels"`: a camera at the side, (96, 96, 3) uint8; `"pixels_agent_pos"`: with `agent_pos` (7,).

    `standard`, `expert` and `fleet` offer `"pixels_agent_pos"` alone. `pixels` is a Dict of two views, (96, 96, 3) uint8 each, fixed to the station,
    about 0.5 mm a pixel where the slot is: `top` from above (right is +x, up is +y) and `right`, level from the side (right is +x, up is +z).
    `agent_pos` is (12,):

    | i | observation | unit |
    |---|---|---|
    | 0 | height of the end effector above its start | m |
    | 1-3 | its rotation since the start | rad |
    | 4 | gripper opening, 0 closed to 1 open | - |
    | 5 | 1 while the fingers hold the strap | - |
    | 6-11 | wrench at the gripper: force, torque | N, Nm |

    ## Pictures
    A real camera's (`enpire_envs.camera_model`): `standard`, `expert` and `fleet` draw blur (a round Gaussian's std in a picture of 96 px), exposure, the factor of
    each colour, a slow flicker (0.5 to 2 s) and the age of what is seen per episode; radial distortion (at half the picture's width, either way) and vignetting per
    station. Noise is new in each frame: its std in the dark, and what full light adds. Larger pictures, films included, carry no more. `sensing="ideal"` is clean.

    ## Reward
    `"sparse"`: 1 on the step of a verified success, else 0. `"dense"`: that plus gamma Phi(s') - Phi(s), potential-based shaping
    (`enpire_envs.shaping`): finishing returns more than stopping part-way, than going to and fro and than failing, discounted by `gamma`
    (per step; 0.99; learn with the same) or not. Phi is 0 after the end of an episode, else in proportion: up to 0.2 for nearness and 0.8 for length.

    ## Starts
    Tip 4 to 8 mm before the slot, aside and turned as the level says (`"ood"`: `intro` 2 mm, 5 deg; else 10 mm, 7 deg); grip uniform in
    21 to 55 mm. `reset(options={"start": {"tip": [x, y, z], "turn": [rx, ry, rz], "grip": d}})` asks for an exact start; at the
    ranked levels `"head": [x, y, z, rx, ry, rz]` belongs to it.

    | part | what | unit, frame |
    |---|---|---|
    | `tip` | the middle of the strap's tip | m; from the slot's entrance, along the head's axes (x into the slot, z up): x is below 0 |
    | `turn` | the gripper's rotation, Rx Ry Rz | rad; in the scene's frame |
    | `grip` | from the tip back to the middle of the fingers, along the strap | m |
    | `head` | how far the slot's entrance is from where the station has it, and how the head is turned (as `turn`) | m, rad; in the scene's frame |

    ## Episode end
    When 16.1 mm of strap are beyond the head, the policy's turn is over; the verifier lets go and pulls the strap back with
    10 N for 0.5 s: at least 15 mm must be left. That verdict is final (terminated). A strap that runs beside the head counts
    for nothing. Violations terminate without success: more than 40 N for 0.1 s (`force_limit`), 80 mm from the start
    (`out_of_workspace`), a strap that fell (`strap_dropped`), penetration above 0.5 mm (`penetration`). Truncated at the level's time limit.

    `info["score"]`: a quarter per stage: `tip_in`, `through`, `pulled` (15 mm), `locked` (verified). `info["past"]`, `info["lateral"]` (the tip off the slot's axis) [m].

    ## Arguments
    `level` ("intro", "state", "standard", "expert", "fleet"), `station_seed`, `obs_type`, `reward_type`, `gamma`, `sensing`, `starts`, `render_mode`,
    `observation_width`, `visualization_width`, `max_episode_steps`.

    ## Version history
    v0: first release. Source: ENPIRE (arXiv 2606.19980), whose zip ties exist only as hardware.
    """

    task: TieZipTie
    cell: SimCell

    def __init__(
        self,
        *,
        level: Literal["intro", "state", "standard", "expert", "fleet"] = "intro",
        sensing: Literal["noisy", "ideal"] = "noisy",
        **options: Unpack[CellOptions],
    ) -> None:
        choose("level", level, LEVELS)
        choose("sensing", sensing, ("noisy", "ideal"))
        numbers = LEVELS[level]
        task, scene = TieZipTie(numbers, sensing), TieScene(numbers)
        installed = (scene, task) if numbers.station else ()
        camera = numbers.camera if sensing == "noisy" else None
        super().__init__(task, SimCell(scene, task.control_hz), installed=installed, camera=camera, **options)

    def brief(self) -> str:
        """Controller, senses and geometry at this level, as Markdown (see `enpire_envs.brief`)."""
        return describe(self.task, TieScene(self.task._level).build(), self._obs_type)
