"""What must hold for a run whose agents see nothing but numbers (`--vision none`): the door withholds pictures, and no other way leads to any."""

from __future__ import annotations

import gymnasium as gym
import numpy as np

from autoenvbench.errors import UserError
from autoenvbench.record.run_config import RunConfig
from autoenvbench.sandbox.cage import Sandbox
from autoenvbench.station.codec import leaves


def check_vision(config: RunConfig, env: gym.Env, sandbox: Sandbox) -> None:
    """Raises UserError where an agent could get pictures beside the door."""
    if config.vision == "native":
        return
    if config.track != "station":
        raise UserError(
            f"--vision none on the track {config.track}: whoever has the simulator can draw what it likes; say --track station"
        )
    if any(box.dtype == np.uint8 and len(box.shape) >= 2 for _, box in leaves(env.observation_space)):
        raise UserError(
            f"--vision none, and policies see pictures in {config.env}: what its policy sees, an agent can always learn; choose an id "
            "or an --env-arg obs_type whose observations are numbers"
        )
    if config.regime == "tools":
        raise UserError(
            "--vision none, and the regime tools is about scripts, whose tools have cameras; choose another regime"
        )
    if sandbox == "none":
        raise UserError(
            "--vision none takes a cage: without one an agent reads the simulator and everything else on this machine; "
            "say --sandbox bwrap or docker"
        )
