"""`ENPIRE/CutZipTie-v0` and its ranked levels."""

from __future__ import annotations

from typing import Literal, Unpack

from enpire_envs.cut_zip_tie.brief import describe
from enpire_envs.cut_zip_tie.levels import LEVELS
from enpire_envs.cut_zip_tie.scene import CutScene
from enpire_envs.cut_zip_tie.task import CutZipTie
from enpire_envs.env import CellEnv, CellOptions, choose
from enpire_envs.sim import SimCell


class CutZipTieEnv(CellEnv):
    """Cut the tail of a tied zip tie close to its head, without cutting the loop.

    ## Description
    A zip tie sits round a bundle of cables. Its tail (3.6 x 1.4 mm, flexible where it leaves the head) must come off so that a stub of the
    allowed length is left. A cutter with a fixed lower and a hinged upper blade of 18 mm is in the gripper, or lies on a foam stand and must be grasped
    first (`start="table"`); its plane is across the tail, its blades point along -y. A strap parts where both blades press on it with the episode's cut
    force: at the tail, or at the loop if that is what is between them. A stub shorter than 2 mm is not held by the head's tooth and slips out of it.

    Frame: origin where the tail leaves the head in `intro`; x along the tail, z up. Rotations are the end effector's hinge angles.

    ## Levels
    The id, or `level`, decides the numbers of an episode. What is a range is drawn per episode, uniformly; below the line, what each station draws once
    and adds. `intro` is for tutorials and debugging, the others are made to be ranked.

    | | `intro`: `ENPIRE/CutZipTie-v0` | `state`: `ENPIRE/CutZipTie-State-v0` | `standard`: `ENPIRE/CutZipTie-Standard-v0` | \
`expert`: `ENPIRE/CutZipTie-Expert-v0` | `fleet`: `ENPIRE/CutZipTie-Fleet-v0` |
    |---|---|---|---|---|---|
    | time limit | 600 steps (20 s) | 450 steps (15 s) | 450 steps (15 s) | 450 steps (15 s) | 450 steps (15 s) |
    | cutter at the start | held | on its stand | on its stand | on its stand | on its stand |
    | allowed stub | 2 to 12 mm; a longer one may be cut again | 2 to 8 mm; the first cut decides | as `state` | 2 to 6 mm; the first cut decides | as `state` |
    | cut force on both blades | 25 N | 22 to 42 N | as `state` | 26 to 48 N | as `state` |
    | tail | 50 mm, straight | 45 to 60 mm, bent by up to 10 degrees 20 and 40 mm from the head | as `state` | bent by up to 18 degrees | as `state` |
    | tie and bundle | at the origin | off by 8, 6, 5 mm and turned by 4, 4, 8 degrees about x, y, z | as `state` | 30 % of starts are `"ood"` | as `state` |
    | cutter in the fingers | where it should be | as it was grasped, then 1.5 mm and 3 degrees off in each axis | as `state` | 2 mm and 4 degrees | as `state` |
    | friction, stiffness | +- 20 %, fixed | times 0.75 to 1.3, +- 20 % | as `state` | as `state` | as `state` |
    | delay of actions | none | 1 to 3 control periods | as `state` | as `state` | as `state` |
    | pose, jaw | exact | joint encoders: 0.2 mm, 1 mrad, 30 mrad backlash and more, see below | as `state`; no x, y | as `state`; no x, y | as `state`; no x, y |
    | wrench, jaw's torque | wrist sensor, exact | joint torques: 0.5 N and 10 mNm bias, drift, dead band, noise, 30 ms lag; 20 mNm | as `state` | as `state` | as `state` |
    | cutter, tie | one look, within 1 mm | every 3 steps, 4 steps old, each off by up to 4.5 mm in six components, an error that wanders within 6 s; 10 % of looks \
fail, 4 % are wrong by 2 to 5 times that and say `valid` 1; a tail that has fallen is missed as late | two cameras, 96 x 96 pixels | two cameras | two cameras |
    | what cameras see differently | nothing | - | light +- 25 %, from 15 degrees aside; cameras knocked by 1 mm and 0.3 degrees | light +- 35 %; cameras knocked by 3 mm and 1.5 degrees; two other straps \
about the bundle, whose tails must stay; six cut-off tails on the bench | as `standard` |
    | pictures (see Pictures) | clean | - | blurred by 0.5 to 1.2 px; distorted by up to 3 %; corners 10 to 30 % darker; \
exposure 0.85 to 1.15 times, colours 5 %, flicker 3 %; noise 2 in the dark and 5 by full light, of 255; 1 to 2 control periods old | blurred by 0.7 to 1.5 px; flicker 5 %; noise 3 and 7; else as `standard` | \
distorted by up to 5 %; corners 5 to 40 % darker; \
exposure 0.75 to 1.25 times; else as `standard` |
    | **station:** tie | - | off by 8, 6, 4 mm, turned by 8 degrees about z | as `state` | as `state` | 12, 9, 5 mm, 12 degrees |
    | cutter on its stand, in the fingers | - | off by 8, 4 mm; 1 mm and 2 degrees | as `state` | as `state` | 10, 6 mm; 2 mm and 4 degrees |
    | friction, stiffness, backlash | - | +- 15 %, +- 10 %, +- 20 % | as `state` | as `state` | times 0.6 to 1.6, 0.7 to 1.4, 0.3 to 3 |
    | further delay | - | none | none | none | 0 to 2 control periods |
    | cameras | - | - | off by 4 mm, 2 degrees; colours by 12 % | as `standard` | 8 mm, 4 degrees; 15 % |

    Why the ranked levels begin at the stand: fetching the cutter is part of the job, and how it was grasped decides where the blades are from then on.

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
    `intro`, `obs_type="state"`: `Box((26,), float32)`, SI units.

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

    `state`, `obs_type="state"`: `Box((31,), float32)`, SI units.

    | i | observation | unit |
    |---|---|---|
    | 0-5 | end effector relative to its start: x, y, z, rotation | m, rad |
    | 6 | jaw angle | rad |
    | 7 | torque of the jaw's drive, negative while it presses | Nm |
    | 8 | gripper's opening: 1 open, 0 closed, 0.5 with the cutter in it | - |
    | 9-14 | wrench at the gripper: force, torque | N, Nm |
    | 15-17 | estimated middle of the cutter's handle (where fingers should close), relative to the start | m |
    | 18-20 | estimated middle of the lower blade's edge | m |
    | 21-23 | estimated position of where the tail leaves the head | m |
    | 24-26 | estimated position of the tail's tip | m |
    | 27, 28 | age of the look at the cutter, and 1 if the last look at it succeeded | s, - |
    | 29, 30 | the same for the tie; 0 once the tip has fallen | s, - |

    `standard`, `expert`, `fleet`: `Dict` of `pixels` (a `Dict` of `side`, which is fixed beside the tie, and `wrist`, which looks along the blades; both
    (96, 96, 3) uint8) and `agent_pos`: `Box((13,), float32)`.

    | i | `agent_pos` | unit |
    |---|---|---|
    | 0 | height of the end effector relative to its start (neither x nor y) | m |
    | 1-3 | its rotation relative to its start | rad |
    | 4, 5 | jaw angle, and torque of its drive | rad, Nm |
    | 6 | gripper's opening: 1 open, 0 closed, 0.5 with the cutter in it | - |
    | 7-12 | wrench at the gripper: force, torque | N, Nm |

    The strap to cut is orange with a red tip; heads are blue, also those of other straps. With `sensing="ideal"` joints and estimates are exact.

    ## Pictures
    A real camera's (`enpire_envs.camera_model`): `standard`, `expert` and `fleet` draw blur (a round Gaussian's std in a picture of 96 px), exposure, the factor of
    each colour, a slow flicker (0.5 to 2 s) and the age of what is seen per episode; radial distortion (at half the picture's width, either way) and vignetting per
    station. Noise is new in each frame: its std in the dark, and what full light adds. Larger pictures, films included, carry no more. `sensing="ideal"` is clean.

    ## Reward
    `"sparse"`: 1 on the step of a verified success, else 0. `"dense"`: that plus gamma Phi(s') - Phi(s), potential-based shaping
    (`enpire_envs.shaping`): finishing returns more than stopping part-way, than going to and fro and than failing, discounted by `gamma`
    (per step; 0.99; learn with the same) or not. Phi is 0 after the end of an episode, else in proportion: 0.1 for holding the
    cutter, up to 0.3 for nearness of the blades to the middle of the allowed stub, 0.2 for pressing there; 0.7 to 1 after the cut, as the
    pieces separate.

    ## Starts
    `intro`: blades about 20 mm before the tail, +- 12 mm along it, +- 8 mm up, turned by +- 3 deg; the tail +- 6 deg up, +- 10 deg aside
    (`"ood"`: 18 mm, 12 mm, 6 deg; 12 deg, 20 deg). Ranked levels: gripper 35 to 45 mm above the cutter and +- 12 mm aside, the cutter +- 12 mm along the stand and
    +- 8 deg, the tail +- 8 deg up, +- 12 deg aside (`"ood"`: 16 mm, 16 mm, 10 deg; 12 deg, 18 deg; the tie 12, 8, 6 mm and 6, 6, 12 deg).
    `reset(options={"start": {"pose": [x, y, z, rx, ry, rz], "tail": [up, aside]}})` (and `"cutter": [x, y, yaw]` where it lies on its stand, `"tie": [x, y, z, rx, ry,
    rz]` at ranked levels) asks for an exact start.

    | part | what | unit, frame |
    |---|---|---|
    | `pose` | the end effector's position, and its rotation, Rx Ry Rz | m, rad; in the scene's frame |
    | `tail` | how the tail is turned where it leaves the head: up, and aside (towards +y) | rad; from the tie's x |
    | `cutter` | the handle's middle on the stand, and how the cutter is turned about z | m, rad; in the scene's frame; at 0 its blades point along -y |
    | `tie` | where the tail leaves the head, and how the whole tie is turned, Rx Ry Rz | m, rad; in the scene's frame |

    The scene's origin is where the tail leaves the head of a tie that is not displaced; x along its tail, z up.

    ## Episode end
    After a cut that leaves a stub of the allowed length, once the blades are open (0.35 rad) and the pieces more than 5 mm apart, the verifier
    lets loose things fall and pulls the stub with 10 N: the pieces must be apart and the stub in place. That verdict is final
    (terminated). Some failures are final too: `loop_cut`, `cut_too_close`, and at ranked levels `cut_too_long` and `wrong_strap_cut`. Violations terminate
    without success: more than 40 N for 0.1 s (`force_limit`), 120 mm from the start (`out_of_workspace`), penetration above
    0.5 mm (`penetration`). Truncated at the level's time limit.

    `info["score"]`: a quarter per stage: `grasped`, `at_tail`, `closed`, `severed` (verified). `info["stub"]`, `info["gap"]` [m].

    ## Arguments
    `level` ("intro", "state", "standard", "expert", "fleet"), `start` ("held", "table"; None for the level's), `obs_type`, `reward_type`, `gamma`, `sensing`, `starts`,
    `render_mode`, `observation_width`, `visualization_width`, `max_episode_steps`, `station_seed`.

    ## Version history
    v0: first release. Source: ENPIRE (arXiv 2606.19980), whose zip ties exist only as hardware.
    """

    task: CutZipTie
    cell: SimCell

    def __init__(
        self,
        *,
        level: Literal["intro", "state", "standard", "expert", "fleet"] = "intro",
        start: Literal["held", "table"] | None = None,
        sensing: Literal["noisy", "ideal"] = "noisy",
        **options: Unpack[CellOptions],
    ) -> None:
        choose("level", level, LEVELS)
        choose("sensing", sensing, ("noisy", "ideal"))
        numbers = LEVELS[level]
        start = start or numbers.start
        choose("start", start, ("held", "table"))
        lying = start == "table"
        task, scene = CutZipTie(numbers, sensing, lying), CutScene(numbers, lying)
        cell = SimCell(scene, task.control_hz)
        camera = numbers.camera if sensing == "noisy" else None
        super().__init__(task, cell, installed=(scene, task) if numbers.station else (), camera=camera, **options)

    def brief(self) -> str:
        """Controller, senses and geometry, as Markdown (see `enpire_envs.brief`)."""
        scene = CutScene(self.task._level, self.task._lying)  # as compiled: what a station has drawn stays with it
        return describe(self.task, scene.build(), self._obs_type)
