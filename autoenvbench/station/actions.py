"""The one door through which a policy's action passes on its way to an environment."""

from __future__ import annotations

import functools
from typing import Any

import numpy as np
from gymnasium import spaces

from autoenvbench.station.policy_process import PolicyFault


def check_action(action: Any, space: spaces.Box) -> np.ndarray:
    """The action as float64, of the space's shape and finite, also as the number type of the space. Raises PolicyFault.

    Values beyond the space's bounds pass: environments clip them.
    """
    if not isinstance(action, np.ndarray) or action.dtype.kind not in "fiub":
        kind = f"an array of {action.dtype}" if isinstance(action, np.ndarray) else f"a {type(action).__name__}"
        raise PolicyFault("bad_action", f"act returned {kind}, expected an array of {space.dtype}")
    if action.shape != space.shape:
        raise PolicyFault("bad_action_shape", f"act returned shape {action.shape}, expected {space.shape}")
    action = action.astype(np.float64, copy=False)
    if (
        np.abs(action) <= _largest(space.dtype)
    ).all():  # element by element: a sum may overflow, and a NaN compares as false
        return action
    if np.isfinite(action).all():  # 1.5e308 is an infinity to a float32
        raise PolicyFault("bad_action_range", f"act returned {_brief(action)}, which no {space.dtype} can hold")
    raise PolicyFault("bad_action_nonfinite", f"act returned {_brief(action)}; every number must be finite")


@functools.cache
def _largest(dtype: np.dtype[Any]) -> float:
    return float(np.finfo(dtype).max if dtype.kind == "f" else np.iinfo(dtype).max)


def _brief(action: np.ndarray) -> str:
    return str(action.ravel()[:16].tolist())
