"""What must hold for a run whose agents see no pictures (`--vision none` and `tool`): the door withholds them, and no other way leads to any."""

from __future__ import annotations

from urllib.parse import urlsplit

import gymnasium as gym
import numpy as np

from autoenvbench.errors import UserError
from autoenvbench.gateway.vision_model import KEY, key_of
from autoenvbench.record.addresses import check_public
from autoenvbench.record.run_config import RunConfig
from autoenvbench.sandbox.cage import Sandbox
from autoenvbench.station.codec import leaves


def check_vision(config: RunConfig, env: gym.Env, sandbox: Sandbox) -> None:
    """Raises UserError where an agent could get pictures beside the door."""
    asks, given = config.vision == "tool", config.vision_model or config.vision_url
    if given and not asks:
        raise UserError(f"--vision-model and --vision-url are for --vision tool, and this is --vision {config.vision}")
    if config.vision == "native":
        return
    if config.track != "station":
        raise UserError(
            f"--vision {config.vision} on the track {config.track}: whoever has the simulator can draw what it likes; say --track station"
        )
    if asks and config.vision_model is None:
        raise UserError(
            "--vision tool, and no model that answers: name one with --vision-model NAME, and the address of its OpenAI-compatible server "
            "with --vision-url URL (without: OpenAI's)"
        )
    if asks and config.vision_url is not None and not _is_address(config.vision_url):
        raise UserError(f"--vision-url {config.vision_url!r} is no address; write it like http://127.0.0.1:8000/v1")
    check_public(config.vision_url)
    if asks and config.vision_url is None and key_of(None) is None:
        raise UserError(
            f"--vision tool asks OpenAI, and {KEY} is not set: type `export {KEY}=...`, or name a server with --vision-url"
        )
    if any(box.dtype == np.uint8 and len(box.shape) >= 2 for _, box in leaves(env.observation_space)):
        raise UserError(
            f"--vision {config.vision}, and policies see pictures in {config.env}: what its policy sees, an agent can always learn; choose an id "
            "or an --env-arg obs_type whose observations are numbers"
        )
    if config.regime == "tools":
        raise UserError(
            f"--vision {config.vision}, and the regime tools is about scripts, whose tools have cameras; choose another regime"
        )
    if sandbox == "none":
        raise UserError(
            f"--vision {config.vision} takes a cage: without one an agent reads the simulator and everything else on this machine; "
            "say --sandbox bwrap or docker"
        )


def _is_address(text: str) -> bool:
    try:
        parts = urlsplit(text)
    except ValueError:
        return False
    return parts.scheme in ("http", "https") and bool(parts.hostname)
