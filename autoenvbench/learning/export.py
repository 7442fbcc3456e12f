"""From trained networks to a policy's folder that `autoenvbench score` runs in its cage: code that needs NumPy, weights without pickle."""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
from torch import nn

from autoenvbench.learning.bundle import features as features_file
from autoenvbench.learning.bundle import policy as policy_file
from autoenvbench.learning.bundle.features import Features
from autoenvbench.learning.bundle.policy import Actor
from autoenvbench.record.regimes import NETWORK

#: How the exported policy finds the file beside it.
_IMPORTS = ("from autoenvbench.learning.bundle.features import", "from features import")

#: policy.py of a policy that is a declared network alone.
NETWORK_POLICY = Path(str(policy_file.__file__)).with_name("network_policy.py")

#: What may stand beside checkpoints/ in a policy's folder.
POLICY_FILES = ("policy.py", "features.py", "policy.json")

Packed = tuple[dict[str, Any], dict[str, np.ndarray]]  # a policy: its description, its weights


def pack(
    features: Features,
    networks: Mapping[str, nn.Sequential],
    low: np.ndarray,
    high: np.ndarray,
    *,
    head: str,
    components: int = 0,
    chunk: int = 1,
    execute: int = 1,
    hold: int = 1,
    residual: Mapping[str, Any] | None = None,
) -> Packed:
    """What `bundle.policy.Actor` takes: a description that is JSON, and arrays by name.

    Args:
        networks: "actor", "image.KEY" for each image, and "base", which the actor corrects, where there is one.
        low, high: (a,) bounds of the action space.
        head: "gaussian" (means first; clipped), "tanh" (means first), "mixture" (of `components`).
        residual: where there is a base: its `head` and `components`, and `scale`, by which the actor's answer is multiplied and added.

    Raises TypeError for a layer that the exported policy does not have.
    """
    about: dict[str, Any] = {
        "networks": {}, "head": head, "components": components, "chunk": chunk, "execute": execute, "hold": hold,
        "residual": dict(residual) if residual else None, "features": features.describe(),
    }  # fmt: skip
    weights = {
        "features.mean": features.mean, "features.std": features.std,
        "action.low": np.asarray(low, np.float32), "action.high": np.asarray(high, np.float32),
    }  # fmt: skip
    for name, network in networks.items():
        layers = [layer for layer in network if not isinstance(layer, nn.Dropout)]
        about["networks"][name] = [_described(layer) for layer in layers]
        for k, layer in enumerate(layers):
            weights |= {f"{name}.{k}.{part}": value.detach().numpy().copy() for part, value in layer.named_parameters()}
    return about, weights


def actor_of(*args: Any, **kwargs: Any) -> Actor:
    """What `pack` describes, to act in this process as it will act when it is exported."""
    return Actor(*pack(*args, **kwargs))


def export(
    folder: Path,
    packed: Packed,
    made_by: Mapping[str, Any],
    network: bytes | None = None,
) -> Path:
    """Write the folder of a policy, whole or not at all, in place of one that is there.

    Args:
        made_by: how it was trained, as JSON has it.
        network: the same as a declared network (`network_file`), where there is one.
    """
    about, weights = packed

    def fill(part: Path) -> None:
        (part / "policy.json").write_text(json.dumps({**about, "made_by": made_by}, indent=1) + "\n")
        np.savez(part / "checkpoints" / "policy.npz", **weights)  # type: ignore[arg-type]
        if network is not None:
            (part / NETWORK).write_bytes(network)
        for module in (features_file, policy_file):
            source = Path(str(module.__file__))
            (part / source.name).write_text(source.read_text().replace(*_IMPORTS))

    return _written(folder, fill)


def export_network(folder: Path, network: bytes, made_by: Mapping[str, Any]) -> Path:
    """The same of a policy that is a declared network, and nothing else: policy.py runs it with ONNX Runtime."""

    def fill(part: Path) -> None:
        (part / "policy.json").write_text(json.dumps({"made_by": made_by}, indent=1) + "\n")
        (part / NETWORK).write_bytes(network)
        (part / "policy.py").write_text(NETWORK_POLICY.read_text())

    return _written(folder, fill)


def _written(folder: Path, fill: Callable[[Path], None]) -> Path:
    """The folder with what `fill` writes; in place of one that is there, when it is whole."""
    part, old = (folder.with_name(f".{folder.name}.{os.getpid()}.{what}") for what in ("part", "old"))
    shutil.rmtree(part, ignore_errors=True)
    (part / "checkpoints").mkdir(parents=True)
    fill(part)
    if folder.exists():
        folder.rename(old)
    part.rename(folder)
    shutil.rmtree(old, ignore_errors=True)
    return folder


def adopt(policy: Path, workspace: Path = Path(), *, code: bool = True) -> list[str]:
    """Make an exported policy that of a workspace, in place of what is in its checkpoints/.

    Args:
        policy: the folder that `export` wrote.
        code: false where the answer is a declared network, and nothing else is run.

    Returns:
        Files to commit, below the workspace; checkpoints/ travels beside the commit.
    """
    weights = workspace / "checkpoints"
    shutil.rmtree(weights, ignore_errors=True)
    if not code:
        weights.mkdir()
        shutil.copy(policy / NETWORK, workspace / NETWORK)
        return []
    shutil.copytree(policy / "checkpoints", weights)
    files = [name for name in POLICY_FILES if (policy / name).is_file()]
    for name in files:
        shutil.copy(policy / name, workspace / name)
    return files


def _described(layer: nn.Module) -> dict[str, Any]:
    if isinstance(layer, nn.Linear):
        return {"kind": "linear"}
    if isinstance(layer, nn.LayerNorm):
        return {"kind": "layer_norm", "epsilon": layer.eps}
    if isinstance(layer, nn.Conv2d) and layer.padding == (0, 0) and layer.stride[0] == layer.stride[1]:
        return {"kind": "convolution", "stride": layer.stride[0]}
    for kind, known in (("relu", nn.ReLU), ("tanh", nn.Tanh), ("flatten", nn.Flatten)):
        if isinstance(layer, known):
            return {"kind": kind}
    raise TypeError(f"{layer} has no counterpart in bundle/policy.py; add it there or build with other layers")


def action_bounds(env: Any) -> tuple[np.ndarray, np.ndarray]:
    """(a,) low and high of an environment's actions. Raises UserError where it has none."""
    from autoenvbench.errors import UserError

    low, high = np.asarray(env.action_space.low), np.asarray(env.action_space.high)
    if low.ndim != 1 or not (np.isfinite(low).all() and np.isfinite(high).all()):
        raise UserError(
            f"learning needs a vector of actions with bounds; those of {env.spec.id if env.spec else env} are {env.action_space}"
        )
    return low, high
