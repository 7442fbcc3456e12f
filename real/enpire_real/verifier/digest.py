"""What a verifier's certificate is bound to: the code that judges, and the station as it is calibrated."""

from __future__ import annotations

import hashlib
import json
from importlib import metadata
from typing import Any

import cv2
import gymnasium as gym
import numpy as np
from enpire_envs.contract import SHOWN, contract_of
from enpire_envs.fingerprint import sources

from enpire_real.station_file import StationFile

#: Of a station file: where things are plugged in, which changes no verdict. (A camera that is swapped for another of its kind is not seen here.)
_CABLES: Any = {
    "twin": {"link", "time"},
    "arms": {"__all__": {"bus"}},
    "cameras": {"__all__": {"source"}},
    "safety": {"emergency_stop": {"path"}},
}
#: Arguments of a real environment that change what a policy sees or how long it has, and no verdict. Any other counts.
_NO_VERDICT = {
    "station", "confirm_motion", "record", "obs_type", "reward_type", "gamma", "starts", "max_episode_steps", "control",
    "station_seed", *SHOWN,
}  # fmt: skip


def station_digest(file: StationFile) -> str:
    """SHA-256 of a station file, calibration included, cables left out: 64 hexadecimal digits."""
    return _digest(file.model_dump(mode="json", exclude=_CABLES))


def verifier_digest(env: gym.Env[Any, Any]) -> str:
    """SHA-256 of what judges in a real environment: all of its code, the arguments that may change a verdict, and the versions of what
    looks at pictures; 64 hexadecimal digits. Raises ContractError."""
    assert env.spec is not None, "made by gymnasium.make"
    code = {name: hashlib.sha256(text).hexdigest() for name, text in sources(contract_of(env).identity()).items()}
    given = {name: value for name, value in env.spec.kwargs.items() if name not in _NO_VERDICT}
    versions = {"opencv": cv2.__version__, "numpy": np.__version__, "scipy": metadata.version("scipy")}
    return _digest([env.spec.id, code, given, versions])


def _digest(value: Any) -> str:
    return hashlib.sha256(json.dumps(value, sort_keys=True, default=str).encode()).hexdigest()
