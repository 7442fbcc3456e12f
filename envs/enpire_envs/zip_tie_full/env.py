"""`ENPIRE/ZipTieFull-v0`."""

from __future__ import annotations

from dataclasses import replace
from typing import Literal, Unpack

from enpire_envs.cut_zip_tie.levels import STATE as CUT
from enpire_envs.env import CellEnv, CellOptions, choose
from enpire_envs.sim import SimCell
from enpire_envs.tie_zip_tie.levels import LEVELS
from enpire_envs.zip_tie_full.brief import describe
from enpire_envs.zip_tie_full.scene import ZipTieFullScene
from enpire_envs.zip_tie_full.task import ZipTieFull

TIE = replace(
    LEVELS["state"], max_steps=3000, look=LEVELS["standard"].look, camera=LEVELS["standard"].camera
)  # a hundred seconds


class ZipTieFullEnv(CellEnv):
    """Thread a zip tie's tail through its head, pull it tight, fetch a cutter, and cut the tail off.

    ## Description
    One gripper does the whole job. It holds a flexible strap before a head with a one-way ratchet, as in `TieZipTieEnv`: thread the tip, push,
    open, go back, grasp again, push on, until 50 mm have come through. Then let go, fetch the cutter from its post, as in `CutZipTieEnv`,
    bring its blades about the tail close to the head, close, open. A cutter that has been taken is held to the end, so that the strap cannot be
    grasped again; and the first cut decides. Strap, head, ratchet, cutter and drives are those of the two tasks; the strap hangs from its head
    by the ratchet alone while it is cut. On a real cell the reset takes a new strap from a feeder and puts the cutter back; here it writes the
    state, and checks that the strap is whole, in the fingers and where it should be.

    Frame: the station's, in which x is along the slot of a head that is neither displaced nor turned, y is towards the cutter, and z is up.
    Rotations are the end effector's hinge angles.

    ## Levels
    One, ranked: as `state` of both tasks, with 3000 steps (100 s). What is a range is drawn per episode, uniformly.

    | | an episode | at a station, on top |
    |---|---|---|
    | strap, slot, pawl, friction, stiffness, delay, encoders, estimates of head, tip and length | as `state` of `TieZipTieEnv` | the same |
    | head displaced, turned about y and z | as `state` of `TieZipTieEnv` | the same |
    | cutter's handle: (30, 72, -29) mm | 12 mm along x, 3 mm along y, 8 degrees about z | 8 mm along x, 4 mm along y |
    | cutter in the fingers | slips by 1.5 mm and 3 degrees about each axis | 1 mm, 2 degrees |
    | a strap parts at | 22 to 42 N on both blades | - |
    | joints of jaw, wrench, estimate of the cutter | as `state` of `CutZipTieEnv` | - |

    ## Action space
    `Box(-1, 1, (7,), float32)`, 30 Hz.

    | i | action | range | unit |
    |---|---|---|---|
    | 0-2 | displacement of the end effector's target along x, y, z | [-1, 1] | x 0.5 mm per step (15 mm/s) |
    | 3-5 | rotation about x, y, z | [-1, 1] | x 0.4 deg per step |
    | 6 | gripper: above 0 closes, below 0 opens, a quarter of the stroke per step; once the cutter is held, its jaw | [-1, 1] | x 0.04 rad per step |

    **Gripper.** Fully closed with the strap within 4 mm of the fingers' centre, it holds the strap until it opens. Closing from above to below half of its stroke, within
    4 mm and 12 degrees of the cutter's handle, it takes the cutter.

    ## Observation space
    `"state"` (default): `Box((40,), float32)`, SI units; positions are relative to the end effector's start.

    | i | observation | unit |
    |---|---|---|
    | 0-5 | end effector relative to its start: x, y, z, rotation | m, rad |
    | 6-7 | jaw's angle and its drive's torque | rad, Nm |
    | 8 | gripper opening, 0 closed to 1 open; 0.5 on the cutter | - |
    | 9-14 | wrench at the gripper: force, torque | N, Nm |
    | 15-16 | 1 while the fingers hold the strap; the cutter | - |
    | 17-21 | estimate of the slot's entrance, and of the head's turn about y and z | m, rad |
    | 22-23 | its age and `valid` | s, - |
    | 24-28 | estimate of the strap's tip, and of the turn of its last link about y and z | m, rad |
    | 29-30 | its age and `valid`: 0 where a look failed, the head hid the tip (as at tying's `state`), or it had fallen | s, - |
    | 31 | length of strap beyond the head, as the camera sees it | m |
    | 32-37 | estimates of the cutter's handle, and of the middle of its lower blade | m |
    | 38-39 | their age and `valid` | s, - |

    `"pixels_agent_pos"`: `agent_pos` is the first 17 of these; `pixels` is a Dict of three views, (96, 96, 3) uint8: tying's `top` and `right`, of the slot's
    surroundings, and `overview`. No estimate is given.

    With `sensing="ideal"` everything is sensed exactly.

    ## Reward
    `"sparse"`: 1 on the step of a verified success, else 0. `"dense"`: that plus gamma Phi(s') - Phi(s), potential-based shaping
    (`enpire_envs.shaping`): finishing returns more than stopping part-way, than going to and fro and than failing, discounted by `gamma`
    (per step; 0.99; learn with the same) or not. Phi is 0 after the end of an episode, else in proportion: up to 0.5 for strap beyond the head, with a tight one up
    to 0.6 for nearness to the cutter and up to 0.8 for nearness of its blades to where they should cut, 0.9 for a good cut, and 1 with the gap.

    ## Starts
    Those of tying at `state` (`starts="ood"`: its wider range, and a cutter off by 16 mm and 10 degrees). `reset(options={"start": {"tip": [x, y, z], "turn": [rx,
    ry, rz], "grip": d, "head": [x, y, z, rx, ry, rz], "cutter": [x, y, yaw]}})` asks for an exact start.

    | part | what | unit, frame |
    |---|---|---|
    | `tip` | the middle of the strap's tip | m; from the slot's entrance, along the head's axes (x into the slot, z up): x is below 0 |
    | `turn` | the gripper's rotation, Rx Ry Rz | rad; in the scene's frame |
    | `grip` | from the tip back to the middle of the fingers, along the strap | m |
    | `head` | how far the slot's entrance is from where the station has it, and how the head is turned (as `turn`) | m, rad; in the scene's frame |
    | `cutter` | how far the handle's middle is from where the station has it, and how the cutter is turned about z | m, rad; in the scene's frame; at 0 its blades point along -y |

    ## Episode end
    When a tight strap is cut with a stub of 2 to 8 mm, the blades are open again (0.35 rad) and tail and stub are more than 5 mm apart, the policy's turn is over;
    the verifier lets what is loose fall and pulls the strap back with 10 N for 0.5 s: then the tail must be apart, the stub still in range and the loop as short.
    That verdict is final (terminated), and so are these failures: the strap cut before its head, or anywhere while it is not through (`loop_cut`), cut too
    close (`cut_too_close`), too far (`cut_too_long`), or while more than 106.1 mm are before the head (`loose`). Violations terminate without success: more
    than 40 N for 0.1 s (`force_limit`), 150 mm from the start (`out_of_workspace`), a strap that fell (`strap_dropped`), penetration above 0.5 mm
    (`penetration`), but that of blades into the strap. Truncated after 3000 steps.

    `info["score"]`: a seventh for each of `tip_in`, `locked` (15 mm through), `tight` (50 mm), `fetched`, `at_tail`, `severed` and `success` (verified), in this
    order; success takes all. `info["past"]`, `info["loop"]`: strap beyond and before the head, `info["gap"]` [m], `info["force"]` [N].

    ## Arguments
    `station_seed`, `sensing` ("noisy", "ideal"), `obs_type`, `reward_type`, `gamma`, `starts`, `render_mode`, `observation_width`, `visualization_width`,
    `max_episode_steps`.

    ## Version history
    v0: first release.
    """

    task: ZipTieFull
    cell: SimCell

    def __init__(self, *, sensing: Literal["noisy", "ideal"] = "noisy", **options: Unpack[CellOptions]) -> None:
        choose("sensing", sensing, ("noisy", "ideal"))
        scene, task = ZipTieFullScene(TIE, CUT), ZipTieFull(TIE, CUT, sensing)
        camera = TIE.camera if sensing == "noisy" else None
        super().__init__(task, SimCell(scene, task.control_hz), installed=(scene, task), camera=camera, **options)

    def brief(self) -> str:
        """Controller, senses and geometry in the numbers of the levels in force, as Markdown."""
        return describe(self.task, ZipTieFullScene(TIE, CUT).build(), self._obs_type)
