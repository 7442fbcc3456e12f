"""`ENPIRE/PinBoard-v0`."""

from __future__ import annotations

from dataclasses import replace
from typing import Literal, Unpack

from enpire_envs.env import CellEnv, CellOptions, choose
from enpire_envs.pin_board.brief import describe
from enpire_envs.pin_board.scene import BoardScene
from enpire_envs.pin_board.task import PinBoard
from enpire_envs.pin_insertion.levels import STANDARD
from enpire_envs.sim import SimCell

LEVEL = replace(STANDARD, max_steps=3600)  # two minutes


class PinBoardEnv(CellEnv):
    """Take nine pins out of a tray and put each into a hole of a board, seeing by a camera on the wrist.

    ## Description
    A tray holds nine pins, a board has nine holes, 4.0 mm wide and 20 mm deep. Take a pin, carry it over, find a hole, push it in, let go,
    and again; any pin goes into any hole. Pins, holes, drives, delay, light, camera, encoders, torques and force guard are those of pin insertion's
    level `standard` (see `PinInsertionEnv`), of which this is nine episodes in a row with everything that lies between: how a pin
    sits in the gripper depends on how it was taken, what already stands in the board is in the way, and what is dropped is lost. On a real
    cell the reset unplugs all nine into the tray; here it writes the state.

    Frame: x to the right in the picture, y up in it, z up. With the plate's top as z = 0, the start is at (-6, 0, 60) mm, within 2, 2 and
    1 mm (`starts="ood"`: twice that).

    ## Levels
    One, ranked: as `standard` of pin insertion. 3600 steps (120 s).

    | | nominal | at a station |
    |---|---|---|
    | board's centre | (28, 0) mm | off by up to 2 mm along each axis |
    | its holes | 3 x 3, 15 mm apart | 13 to 17 mm apart, turned by up to 20 degrees |
    | tray's centre | (-40, 0) mm | off by up to 2 mm along each axis |
    | its pockets | 3 x 3, 15 mm apart, 10 mm deep | the same |

    A pin stands off its pocket's middle by up to 0.4 mm, drawn per episode.

    ## Action space
    `Box(-1, 1, (4,), float32)`, 30 Hz.

    | i | action | range | unit |
    |---|---|---|---|
    | 0-2 | displacement of the end effector's target along x, y, z | [-1, 1] | x 1.5 mm per step (45 mm/s) |
    | 3 | closing of the gripper (below 0: opening) | [-1, 1] | x 1/6 of its opening per step |

    **Gripper.** Closing on a pin of the tray takes it if the tool is within 3 mm of it along x, 2.5 mm along y and 3 mm of the height at which it
    has the pin 30 mm below the fingers: 20 mm above the plate, 40 mm below the start. The fingers centre a pin along x; along y and z it
    stays where it stood. Then its tip is off, and it is tilted, as at `standard`. Opening beyond 0.6 lets go: a pin that stands at least 18 mm
    deep in a hole, with its axis inside, is placed and stays; one in its pocket stands there again; any other is lost.

    ## Observation space
    `"pixels_agent_pos"`: `pixels`, (96, 96, 3) uint8, of the wrist camera, as in pin insertion; `agent_pos`, (14,):

    | i | observation | unit |
    |---|---|---|
    | 0 | height of the end effector above its start | m |
    | 1-6 | its rotation since the start: the first two columns of the rotation matrix | - |
    | 7 | gripper opening: 1 open, 0.3 on a pin, 0 closed on nothing | - |
    | 8-10 | force that the surroundings exert on the tool | N |
    | 11-13 | torque at the gripper | Nm |

    The wrench is tared, as well as at the start, whenever the gripper takes a pin or lets go of one, and whenever it rises to less than 5 mm
    below its start, above all that stands about: where a drift holds a pin back by the force guard, go up and come again. Neither x nor y is observed; the commanded position is known by adding up actions.

    ## Reward
    `"sparse"`: 1 on the step of a verified success, else 0. `"dense"`: that plus gamma Phi(s') - Phi(s), potential-based shaping
    (`enpire_envs.shaping`): finishing returns more than stopping part-way, than going to and fro and than failing, discounted by `gamma`
    (per step; 0.99; learn with the same) or not. Phi is 0 after the end of an episode, else in proportion: a ninth for each pin in a hole, of which a third is
    for holding the next one and a third for how deep that is.

    ## Episode end
    All nine pins placed: success, verified and final (terminated). Violations terminate without success: end effector more than 70 mm along x,
    40 mm along y, 55 mm down or 10 mm up from its start (`out_of_workspace`), more than 40 N for 0.1 s (`force_limit`), penetration above
    0.5 mm (`penetration`). Truncated after 3600 steps.

    `info["score"]`: a ninth for each pin in a hole; success takes all nine. `info["placed"]`, `info["lost"]` (pins), `info["insertion"]` [m],
    `info["force"]` [N].

    **Force guard**: while the end effector is 5 to 32.5 mm below its start, which is until a pin is about 2.5 mm in, an action that goes down
    is carried out without its z as long as the last observed force along z is above 1 N.

    ## Arguments
    `station_seed`, `sensing` ("noisy", "ideal"), `obs_type`, `reward_type`, `gamma`, `starts`, `render_mode`, `observation_width`,
    `visualization_width`, `max_episode_steps`.

    ## Version history
    v0: first release.
    """

    def __init__(self, *, sensing: Literal["noisy", "ideal"] = "noisy", **options: Unpack[CellOptions]) -> None:
        choose("sensing", sensing, ("noisy", "ideal"))
        self._sensing = sensing
        scene, task = BoardScene(LEVEL), PinBoard(LEVEL, sensing)
        camera = LEVEL.camera if sensing == "noisy" else None
        super().__init__(task, SimCell(scene, task.control_hz), installed=(scene, task), camera=camera, **options)

    def brief(self) -> str:
        """Controller, senses and geometry in the numbers of the level in force, as Markdown."""
        return describe(PinBoard(LEVEL, self._sensing), BoardScene(LEVEL).build(), self._obs_type)
