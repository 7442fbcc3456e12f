"""`ENPIRE/GPUInsertion-v0` and its ranked levels."""

from __future__ import annotations

from typing import Literal, Unpack

from enpire_envs.env import CellEnv, CellOptions, choose
from enpire_envs.gpu_insertion.brief import describe
from enpire_envs.gpu_insertion.levels import LEVELS
from enpire_envs.gpu_insertion.scene import CardScene
from enpire_envs.gpu_insertion.task import GPUInsertion
from enpire_envs.sim import SimCell


class GPUInsertionEnv(CellEnv):
    """Seat a card in its slot: line both ends up, push through the sprung rails, and on until the latch snaps.

    ## Description
    The gripper holds a card whose edge connector (84 x 1.6 mm) must go 9 mm deep into a slot that is 0.5 mm longer and, at
    `intro`, 0.3 mm wider, its upper edges cut back by 0.5 mm at 45 degrees (the lead-in; others: below). Two force stages are physical: sprung rails grip the edge (about 20 N at 4 mm)
    and a sprung nose gives way to the card's tab (about 28 N) and snaps back over it; pulling the card out again takes
    about 40 N. The end effector is compliant (2500 N/m, 60 Nm/rad, at most 25 N sideways and 90 N down).

    ## Levels
    The id, or `level`, decides the numbers. `intro` is for tutorials and debugging, the others are made to be ranked. What a station keeps
    for all its episodes comes first, what each episode draws on top follows after "+"; both are uniform.

    | | `intro`: `ENPIRE/GPUInsertion-v0` | `state`: `ENPIRE/GPUInsertion-State-v0` | `standard`: `ENPIRE/GPUInsertion-Standard-v0` | \
`expert`: `ENPIRE/GPUInsertion-Expert-v0` | `fleet`: `ENPIRE/GPUInsertion-Fleet-v0` |
    |---|---|---|---|---|---|
    | a policy has | pose, wrench, one look at the slot | pose, wrench, an estimate of the slot | images, z, rotation, wrench | as standard | \
as standard |
    | time limit | 600 steps (20 s) | 360 steps (12 s) | 360 steps (12 s) | 360 steps (12 s) | 360 steps (12 s) |
    | lead-in | 0.5 mm | 0.3 mm | 0.3 mm | 0.2 mm | 0.3 mm |
    | play across the slot | 0.3 mm | 0.2 to 0.3 mm | 0.2 to 0.3 mm | 0.1 to 0.2 mm | 0.2 to 0.3 mm |
    | gripper at the start, about each axis | +- 3 deg | +- 3 deg | +- 3 deg | +- 5 deg, at least 3 deg in all | +- 3 deg |
    | starts that are `"ood"` | none | none | none | 30 % | none |
    | friction 0.2, times | 0.8 to 1.2 | 0.8 to 1.25 + the same | as state | as state | 0.6 to 1.7 + 0.8 to 1.25 |
    | stiffness of the end effector, times | 1 | + 0.75 to 1.25 | as state | as state | 0.7 to 1.4 + 0.75 to 1.25 |
    | springs of the rails, times | 1 | 0.9 to 1.1 + the same | as state | as state | 0.75 to 1.3 + 0.9 to 1.1 |
    | spring of the latch, times | 1 | 0.9 to 1.1 + the same | as state | worn: 0.9 to 1.1 + 0.45 to 0.7, snaps 0.1 to 0.3 mm later | \
0.75 to 1.3 + 0.9 to 1.1 |
    | card in the gripper | as it should be | +- 0.4 mm, 0.5 deg, + 0.6 mm, 1 deg, each axis | as state | as state | +- 1 mm, 1.5 deg, + 0.6 mm, 1 deg |
    | board with the slot, in the end effector's frame | straight | +- 3 mm (z 1 mm), 0.5 deg (about z 1.5), + 1 mm (z 0.5 mm), 0.5 deg | as state | \
as state; a second slot 13 to 20 mm beside | +- 6 mm (z 2 mm), 1 deg (about z 3), + as state |
    | delay of actions | none | 1 to 3 control periods | as state | as state | 0 to 2 + 1 to 3 |
    | light, colours | one | - | 0.8 to 1.2 times, 20 deg, colours +- 15 %, + 0.7 to 1.3 times, 20 deg | as standard | 0.6 to 1.4 times, 40 deg, colours \
+- 25 %, + as standard |
    | cameras off, + knocked between episodes | no | - | +- 3 mm, 1 deg, + 1 mm, 0.3 deg | the same + 3 mm, 1.5 deg | +- 8 mm, 3 deg, + 1 mm, 0.3 deg |
    | pictures (see Pictures) | clean | - | blurred by 0.5 to 1.2 px; distorted by up to 3 %; corners 10 to 30 % darker; \
exposure 0.85 to 1.15 times, colours 5 %, flicker 3 %; noise 2 in the dark and 5 by full light, of 255; 1 to 2 control periods old | blurred by 0.7 to 1.5 px; flicker 5 %; noise 3 and 7; else as `standard` | \
distorted by up to 5 %; corners 5 to 40 % darker; \
exposure 0.75 to 1.25 times; else as `standard` |
    | position (z) and rotation | exact | joint encoders: 0.1 mm and 1 mrad backlash, an unseen flex of 0.02 mm/N and 1 mrad/Nm, an error of 0.2 to 0.3 mm \
over 20 mm and 2 to 4 mrad over 0.2 rad, noise of 0.05 mm and 0.5 mrad; all but the noise times 0.8 to 1.25 at a station | as state | as state | \
as state, but times 0.5 to 2.5 |
    | wrench | wrist sensor: 0.15 N and 3 mNm bias, 0.1 N and 2 mNm noise | joint torques: 0.5 N and 20 mNm bias, drifting by 0.2 N and 8 mNm per root \
second; changes below 0.5 N and 20 mNm are not felt; 30 ms lag; 0.5 N and 20 mNm noise | as state | as state | as state |
    | slot estimate | one look, within 1 mm and 1 deg | every 3 steps, 3 steps old, within an ellipsoid of 3 mm and 2.9 deg, wandering within 3 s; 10 % \
fail (`valid` 0, the last estimate stays), 3 % are wrong by 1.5 to 4 times that and say `valid` 1 | none | none | none |

    Frame: x along the slot, y across it, z up, as far as the board is straight; commands and what is sensed of the pose are in the end effector's own
    frame. Rotations are its hinge angles (about x, y, z), which for these small angles are its rotation vector.

    ## Action space
    `Box(-1, 1, (6,), float32)`, 30 Hz.

    | i | action | range | unit |
    |---|---|---|---|
    | 0-1 | displacement of the end effector's target along x, y | [-1, 1] | x 0.25 mm per step |
    | 2 | the same along z | [-1, 1] | x 0.4 mm per step |
    | 3-5 | rotation about x, y, z | [-1, 1] | x 0.2 deg per step |

    Displacements add up on the last *commanded* pose, so pressing is commanding a pose below the one reached.

    ## Observation space
    `obs_type="state"` (`intro`, `state`): `Box((68,), float32)`, SI units.

    | i | observation | unit |
    |---|---|---|
    | 0-5 | end effector relative to its start: x, y, z, rotation | m, rad |
    | 6-11 | wrench that the surroundings exert on the card: force, torque at the gripper | N, Nm |
    | 12-17 | estimated pose at which a well held card's edge stands straight at the slot's mouth, relative to the start (see Levels) | m, rad |
    | 18 | age of that estimate, in units of 20 s | - |
    | 19 | valid: 1, or 0 where the last look failed | - |
    | 20-67 | the last 8 wrenches, oldest first | N, Nm |

    `standard`, `expert`, `fleet` have `obs_type="pixels_agent_pos"` alone: `{"agent_pos": (10,), "pixels": {"side": image, "wrist": image}}`, images
    of (96, 96, 3) uint8. `side` stands on a pole and looks along the slot at the card's end without a latch, `wrist` moves with the gripper and looks at
    the other end. `agent_pos`, float32:

    | i | observation | unit |
    |---|---|---|
    | 0 | height of the end effector relative to its start | m |
    | 1-3 | its rotation about x, y, z relative to its start | rad |
    | 4-6 | force that the surroundings exert on the card | N |
    | 7-9 | torque at the gripper | Nm |

    With `sensing="noisy"` all of it is sensed as the level says; with `"ideal"` it is exact. On `intro`, `"pixels"` is a camera at the side, (96, 96, 3)
    uint8, and `"pixels_agent_pos"` has an `agent_pos` (6,), the exact pose.

    ## Pictures
    A real camera's (`enpire_envs.camera_model`): `standard`, `expert` and `fleet` draw blur (a round Gaussian's std in a picture of 96 px), exposure, the factor of
    each colour, a slow flicker (0.5 to 2 s) and the age of what is seen per episode; radial distortion (at half the picture's width, either way) and vignetting per
    station. Noise is new in each frame: its std in the dark, and what full light adds. Larger pictures, films included, carry no more. `sensing="ideal"` is clean.

    ## Reward
    `"sparse"`: 1 on the step of a verified success, else 0. `"dense"`: that plus gamma Phi(s') - Phi(s), potential-based shaping
    (`enpire_envs.shaping`): finishing returns more than stopping part-way, than going to and fro and than failing, discounted by `gamma`
    (per step; 0.99; learn with the same) or not. Phi is 0 after the end of an episode, else in proportion: up to 0.1 for nearness and 0.9 for depth.

    ## Starts
    Edge within +- 3 mm along x and y, its lowest point 0.2 to 3 mm above the mouth (higher by what card and board may be askew), the gripper turned
    as the level says (`"ood"`: 1.5 times offset and turn). `reset(options={"start": {"edge": [x, y, z], "turn": [rx, ry, rz]}})` asks for an exact start.
    Verdict and safety use the truth.

    | part | what | unit, frame |
    |---|---|---|
    | `edge` | the middle of the card's lower edge, as the card sits in the gripper | m; from the middle of the slot's mouth, along the axes of the board, which may be turned (x along the slot, z up) |
    | `turn` | the gripper's rotation, Rx Ry Rz | rad; in the end effector's frame, not the board's |

    ## Episode end
    When both ends are at least 8.7 mm deep and the latch has snapped, the policy's turn is over; the verifier stops pressing,
    pulls with 10 N for 0.5 s, and looks again: latch in place, both ends at least 8.0 mm deep, no penetration above 0.5 mm.
    That verdict is final (terminated). Violations terminate without success: more than 60 N for 0.1 s (`force_limit`),
    50 mm sideways, 140 mm down or 30 mm up (`out_of_workspace`), penetration above 0.5 mm (`penetration`). Truncated
    at the level's time limit.

    `info["score"]`: a quarter per stage: `contact`, `aligned` (both ends 1 mm deep), `seated` (8.7 mm), `latched` (verified).
    `info["seated"]`, `info["lateral"]` (the end that is farther across off the slot's middle) [m], `info["latch"]`, `info["force"]` [N].

    ## Arguments
    `level` ("intro", "state", "standard", "expert", "fleet"), `obs_type`, `reward_type`, `gamma`, `sensing`, `starts`, `render_mode`, `observation_width`,
    `visualization_width`, `max_episode_steps`, `station_seed` (not on `intro`).

    ## Version history
    v0: first release. Source: ENPIRE (arXiv 2606.19980), whose board and card exist only as hardware.
    """

    task: GPUInsertion
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
        task, scene = GPUInsertion(LEVELS[level], sensing), CardScene(LEVELS[level])
        installed = () if level == "intro" else (scene, task)
        camera = LEVELS[level].camera if sensing == "noisy" else None
        super().__init__(task, SimCell(scene, task.control_hz), installed=installed, camera=camera, **options)

    def brief(self) -> str:
        """Controller, senses and geometry, as Markdown (see `enpire_envs.brief`)."""
        return describe(self.task, CardScene(self.task.level).build(), self._obs_type)
