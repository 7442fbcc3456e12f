"""`ENPIRE/PinInsertion-real-v0`."""

from __future__ import annotations

from pathlib import Path
from typing import Unpack

from enpire_envs.env import CellOptions

from enpire_real.env import RealEnv
from enpire_real.pin_insertion.kit import KIT
from enpire_real.pin_insertion.task import RealPinInsertion


class PinRealEnv(RealEnv):
    """Pin insertion with an arm: the spaces, stages and time limit of `ENPIRE/PinInsertion-v0`, on a station.

    ## Description
    A hand with two fingers holds a pin by its handle, by friction alone, over a printed fixture with a 3 x 3 grid of holes and markers; a
    camera on the wrist and one at the side look on (see `real/README.md` for what to print). Without a station file the twin answers: arms,
    motors, CAN frames, cameras, contact and grasp are simulated, and `info["cell"]` says "twin".

    ## Action and observation space
    As `ENPIRE/PinInsertion-v0`. The end effector's position comes from the joints; the wrench from the joints' torques, so it is off by
    about a newton where joints stick, and its torque is that of a force at the pin's tip; the hole's estimate is what markers and a touch of
    the plate made of it at the reset, and ages. The hand behaves like a spring of 1500 N/m that presses with at most 25 N sideways and 30 N
    along the pin. `"pixels"` is the middle of the wrist camera's image.

    ## Reward and episode end
    As `ENPIRE/PinInsertion-v0`. Where the joints have said for five steps that the pin is 18.2 mm deep in the target hole, the policy's turn is over; the
    verifier stops pressing and holds for 0.5 s: the pin must stay 18 mm deep with less than 10 N on it, and wrist and side camera must agree
    with the joints in three looks each, to 2 mm across and, in depth, to 2 mm (side) and 2.5 mm (wrist). Further violations: `pin_lost` (the fingers hold it no more),
    `late_actions` (ten in a row).

    ## Reset
    The hand lifts whatever it holds out of its hole, looks, takes up a pin that stands in a hole or in the nest (else a new one is asked
    for: `info["pins_supplied"]`), touches the bare plate, and hovers at the sampled start, to within 1 mm, seen by the wrist camera; in up to
    three attempts. `reset(options={"start": ...})` as in simulation; `tilt` is not brought about: the hand is upright.

    ## Safety
    A safety monitor stands between every command and the bus. When it stops the arms, the episode ends as a fault of the cell
    (`CellFault`, with the reason), never as a success or failure of the policy.

    ## Arguments
    `station`: a station file; default the one that `AUTOENVBENCH_STATION` names, else the twin. `confirm_motion`: must be True
    where arms are physical. `record`: a folder to which every episode is written (see `autoenvbench station dataset`).
    `obs_type`, `reward_type`, `gamma`, `starts`, `render_mode`, `observation_width`, `visualization_width`, `max_episode_steps` as in
    simulation.

    ## Version history
    v0: first release. Source: ENPIRE (arXiv 2606.19980).
    """

    def __init__(
        self,
        *,
        station: str | Path | None = None,
        confirm_motion: bool = False,
        record: str | Path | None = None,
        **options: Unpack[CellOptions],
    ) -> None:
        super().__init__(
            RealPinInsertion(), KIT, station=station, confirm_motion=confirm_motion, record=record, **options
        )
