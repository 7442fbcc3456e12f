"""`ENPIRE/TieZipTie-real-v0`."""

from __future__ import annotations

from pathlib import Path
from typing import Unpack

from enpire_envs.env import CellOptions

from enpire_real.env import RealEnv
from enpire_real.tie_zip_tie.kit import KIT
from enpire_real.tie_zip_tie.task import RealTieZipTie


class TieRealEnv(RealEnv):
    """Tying a zip tie with an arm: the spaces, stages and time limit of `ENPIRE/TieZipTie-v0`, on a station.

    ## Description
    A hand with two fingers holds a strap before a head on a post; two cameras with long lenses look at the slot broadside, from its left and
    its right (see `real/README.md` for what to print). Without a station file the twin answers: arms, motors, CAN frames, cameras, strap
    and ratchet are simulated, and `info["cell"]` says "twin". The twin's strap and ratchet are the simulated task's, and so is its grasp:
    fingers that close on a strap hold it by a weld, and stop at its thickness.

    ## Action and observation space
    As `ENPIRE/TieZipTie-v0`. Frame: the slot's, with x along it, y up and z to the right: the head is clamped on its side. The end effector's
    pose comes from the joints; the force from the joints' torques, so it is off by about a newton where joints stick, and no torque is
    told; the gripper's opening, and whether it holds a strap, from its motor. Tip and slot are what the two cameras agree on,
    to about 0.2 mm; `valid` is 0 while the tip is in the slot's mouth (within 1 mm of it), in the head, or where they disagree.

    ## Reward and episode end
    As `ENPIRE/TieZipTie-v0`. Where the cameras have seen 16.5 mm beyond the head for three steps, the policy's turn is over; the verifier
    looks three times, pulls the strap back with 10 N for 0.5 s, and looks three times more: each camera alone must see 15.2 mm
    each time, and they must agree to 1 mm. Further violations: `strap_dropped` (not held, and out of sight), `late_actions` (ten in a row).

    ## Reset
    The hand lets go of what it holds, over the tray or where the head holds it; shows its fingertips to both cameras if they are new or were
    moved; draws a strap that is in the head out of it, forward, for the ratchet lets it go no other way; takes a new one from the feeder
    (`info["straps_supplied"]` counts those brought); and hovers at the sampled start, to within 1 mm as both cameras see it, and 3 mm in
    where it is held; in up to three attempts. `reset(options={"start": ...})` as in simulation.

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
        super().__init__(RealTieZipTie(), KIT, station=station, confirm_motion=confirm_motion, record=record, **options)
