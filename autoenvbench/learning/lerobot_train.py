"""The half of `act` and `diffusion` that runs where LeRobot is: a LeRobotDataset in, a trained policy and its declared network out.

`lerobot_run` starts it. Of our own packages it needs the few modules that are imported here, which need PyTorch and NumPy alone.
"""

from __future__ import annotations

import importlib.util
import json
import os
import shutil
import sys
import threading
import warnings
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from enpire_envs.episode_file import EpisodeError
from enpire_real.dataset import to_lerobot
from torch.optim.swa_utils import AveragedModel, get_ema_multi_avg_fn

from autoenvbench.errors import UserError
from autoenvbench.learning.lerobot_graph import Declared, write
from autoenvbench.learning.run import Training

NETWORK, PRETRAINED, REPORT = "network.onnx", "lerobot", "trained.json"
RECORD_EVERY = 20  # updates
_MIN_SPREAD = 1e-4  # of a number that hardly varies in the data


@dataclass(frozen=True)
class Data:
    """All frames of a LeRobotDataset, in memory.

    Attributes:
        numbers: (n, d) float32, all vectors of an observation end to end; key: what LeRobot shall call them.
        images: by LeRobot's keys, (n, height, width, 3) uint8.
        action: (n, a) float32.
        first, last: (n,) of each frame's episode.
        stats: of each key, as LeRobot has them.
    """

    numbers: np.ndarray
    key: str
    images: dict[str, np.ndarray]
    action: np.ndarray
    first: np.ndarray
    last: np.ndarray
    stats: dict[str, dict[str, np.ndarray]]

    @classmethod
    def read(cls, root: Path, parts: Sequence[dict[str, Any]]) -> Data:
        """`parts`: see `lerobot_graph.Declared`."""
        from lerobot.datasets.factory import IMAGENET_STATS  # which LeRobot normalises images by, whatever they show
        from lerobot.datasets.lerobot_dataset import LeRobotDataset

        dataset = LeRobotDataset("autoenvbench/demonstrations", root=root, video_backend="pyav")
        vectors, images = ([p["key"] for p in parts if p["image"] == which] for which in (False, True))
        columns = dataset.hf_dataset.with_format("numpy", columns=[*vectors, *images, "action"])[:]
        n = len(columns["action"])
        numbers = [np.reshape(np.asarray(columns[key], np.float32), (n, -1)) for key in vectors]
        ends = np.array([(row["dataset_from_index"], row["dataset_to_index"]) for row in dataset.meta.episodes])
        first, last = (np.repeat(ends[:, k] - k, ends[:, 1] - ends[:, 0]) for k in (0, 1))
        known = dataset.meta.stats
        stats = {"action": _spread(known["action"])}
        stats |= {
            key: {name: np.asarray(value, np.float32) for name, value in IMAGENET_STATS.items()} for key in images
        }
        key = "observation.state" if images else "observation.environment_state"
        if vectors:
            stats[key] = _spread(
                {
                    s: np.concatenate([np.atleast_1d(known[v][s]) for v in vectors])
                    for s in ("min", "max", "mean", "std")
                }
            )
        return cls(
            np.concatenate(numbers, axis=1) if numbers else np.zeros((n, 0), np.float32), key,
            {k: np.asarray(columns[k], np.uint8) for k in images}, np.asarray(columns["action"], np.float32), first, last, stats,
        )  # fmt: skip

    def features(self) -> tuple[dict[str, Any], dict[str, Any]]:
        """Inputs and outputs of a policy, in LeRobot's words."""
        from lerobot.configs.types import FeatureType, PolicyFeature

        kind = FeatureType.STATE if self.images else FeatureType.ENV
        inputs = {self.key: PolicyFeature(kind, self.numbers.shape[1:])} if self.numbers.shape[1] else {}
        for key, image in self.images.items():
            inputs[key] = PolicyFeature(FeatureType.VISUAL, (3, *image.shape[1:3]))
        return inputs, {"action": PolicyFeature(FeatureType.ACTION, self.action.shape[1:])}

    def batch(self, rows: np.ndarray, config: Any) -> dict[str, torch.Tensor]:
        """What LeRobot's loader gives at these frames: what a policy wants of the steps around them, within their episodes."""
        seen = config.observation_delta_indices
        back = rows if seen is None else self._near(rows, seen)[0]
        ahead, pad = self._near(rows, config.action_delta_indices)
        batch = {"action": torch.from_numpy(self.action[ahead]), "action_is_pad": torch.from_numpy(pad)}
        batch["observation.state"] = torch.zeros(*back.shape, 0)  # both models ask for it, whatever they see
        if self.numbers.shape[1]:
            batch[self.key] = torch.from_numpy(self.numbers[back])
        for key, images in self.images.items():
            batch[key] = torch.from_numpy(images[back]).movedim(-1, -3).float() / 255
        return batch

    def _near(self, rows: np.ndarray, steps: Sequence[int]) -> tuple[np.ndarray, np.ndarray]:
        """(n, steps) frames, and whether they would be outside the episode, whose end stands for them."""
        wanted = rows[:, None] + np.asarray(steps)
        inside = np.clip(wanted, self.first[rows, None], self.last[rows, None])
        return inside, wanted != inside


def _spread(stats: dict[str, Any]) -> dict[str, np.ndarray]:
    """LeRobot's statistics, with no spread so small that a number becomes huge elsewhere."""
    kept = {name: np.asarray(stats[name], np.float32) for name in ("min", "max", "mean", "std")}
    kept["std"] = np.maximum(kept["std"], _MIN_SPREAD)
    narrow = np.maximum(_MIN_SPREAD - (kept["max"] - kept["min"]), 0) / 2
    return kept | {"min": kept["min"] - narrow, "max": kept["max"] + narrow}


def learn(
    module: Any, settings: Any, root: Path, out: Path, parts: Sequence[dict[str, Any]], training: Training
) -> None:
    """Train on the LeRobotDataset at `root`; leaves the network, and the policy as LeRobot saves it, in `out`."""
    data = Data.read(root, parts)
    config = module.configure(*data.features(), settings)
    policy, before, after = _made(config, data.stats)
    optimiser = config.get_optimizer_preset().build(policy.get_optim_params())
    clip = config.get_optimizer_preset().grad_clip_norm
    preset = config.get_scheduler_preset()
    schedule = (
        preset.build(optimiser, settings.updates) if preset else torch.optim.lr_scheduler.ConstantLR(optimiser, 1.0)
    )
    average = AveragedModel(policy, multi_avg_fn=get_ema_multi_avg_fn(settings.average))
    rows = np.flatnonzero(np.arange(len(data.action)) <= data.last - getattr(config, "drop_n_last_frames", 0))
    if not len(rows):
        raise UserError("these episodes are shorter than the horizon; set a smaller one, or learn from longer episodes")
    policy.train()
    for step in training.steps(
        settings.updates, policy=policy, average=average, optimiser=optimiser, schedule=schedule
    ):
        loss, _ = policy.forward(before(data.batch(training.rng.choice(rows, settings.batch), config)))
        optimiser.zero_grad()
        loss.backward()
        torch.nn.utils.clip_grad_norm_(policy.parameters(), clip)
        optimiser.step()
        schedule.step()
        average.update_parameters(policy)
        if step % RECORD_EVERY == 0:
            training.record(loss=loss.item(), lr=float(schedule.get_last_lr()[0]))

    trained = average.module.eval()
    _save(trained, before, after, out / PRETRAINED)
    numbers = data.key if data.numbers.shape[1] else None
    scale = {key: _scale(config, key, stats) for key, stats in data.stats.items()}
    network = Declared(parts, module.Answer(trained, settings), numbers, scale, data.action.shape[1])
    write(network, out / NETWORK)


def _made(config: Any, stats: dict[str, dict[str, np.ndarray]]) -> tuple[Any, Any, Any]:
    """A new policy, and what normalises its batches and restores its actions: all LeRobot's own."""
    from lerobot.policies.act.modeling_act import ACTPolicy
    from lerobot.policies.act.processor_act import make_act_pre_post_processors
    from lerobot.policies.diffusion.modeling_diffusion import DiffusionPolicy
    from lerobot.policies.diffusion.processor_diffusion import make_diffusion_pre_post_processors

    policy, processors = {
        "act": (ACTPolicy, make_act_pre_post_processors),
        "diffusion": (DiffusionPolicy, make_diffusion_pre_post_processors),
    }[config.type]
    return policy(config), *processors(config, stats)


def _save(policy: Any, before: Any, after: Any, folder: Path) -> None:
    shutil.rmtree(folder, ignore_errors=True)
    for part in (policy, before, after):
        part.save_pretrained(folder)


def _scale(config: Any, key: str, stats: dict[str, np.ndarray]) -> tuple[torch.Tensor, torch.Tensor]:
    """(offset, scale) of LeRobot's way to normalise this kind of feature."""
    kind = {**config.input_features, **config.output_features}[key].type
    tensors = {name: torch.from_numpy(value) for name, value in stats.items()}
    if config.normalization_mapping[kind.value].value == "MEAN_STD":
        return tensors["mean"], tensors["std"] + 1e-8
    half = (tensors["max"] - tensors["min"]) / 2
    return tensors["min"] + half, half


def end_with_its_caller() -> None:
    """This process ends when its standard input does, whatever becomes of who started it."""
    threading.Thread(target=lambda: (sys.stdin.read(), os._exit(1)), daemon=True).start()


def main(told: dict[str, Any]) -> None:
    """Learn, as `lerobot_run` tells. Raises SystemExit with the words of a UserError."""
    warnings.simplefilter("ignore")
    spec = importlib.util.spec_from_file_location("algorithm", told["module"])
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules["algorithm"] = module
    spec.loader.exec_module(module)
    out, dataset = Path(told["out"]), Path(told["dataset"])
    try:
        if not dataset.is_dir():
            convert(Path(told["source"]), dataset)
        training = Training(out, seed=told["seed"], minutes=told["minutes"], threads=told["threads"], resume=told["resume"],
                            log=lambda text: print(text, flush=True))  # fmt: skip
        learn(module, module.Settings(**told["settings"]), dataset, out, told["parts"], training)
    except UserError as error:
        raise SystemExit(f"UserError: {error}") from None
    (out / REPORT).write_text(json.dumps({"steps": training.step, "seconds": training.seconds}))


def convert(source: Path, dataset: Path) -> None:
    """Make the LeRobotDataset of a folder of episodes; it appears when it is whole. Raises UserError."""
    part = dataset.with_name(f".{dataset.name}.part")
    shutil.rmtree(part, ignore_errors=True)
    try:
        made = to_lerobot(source, part, video=False)
    except EpisodeError as error:
        raise UserError(str(error)) from None
    part.rename(dataset)
    print(f"{made['episodes']} episodes, {made['frames']} steps are a LeRobotDataset now: {dataset}", flush=True)
