"""`diffusion`: LeRobot's Diffusion Policy, which denoises a chunk of actions (Chi et al. 2023). Wants LeRobot in an environment of its own.

Read it from top to bottom: what can be set, LeRobot's configuration of it, and the network as it acts. The model, its loss, its optimiser,
its schedule and its normalisation are LeRobot's own; the loop around them is `lerobot_train`. It learns to take noise away in 100 steps and
acts by few of them (DDIM), one after the other in one graph. A declared network is evaluated at each control step, so these steps and the
widths decide what an action costs.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import torch
from torch import nn

from autoenvbench.errors import UserError
from autoenvbench.learning.settings import knob
from autoenvbench.station.networks import MAX_NOISE


@dataclass(frozen=True)
class Settings:
    """Hyperparameters."""

    updates: int = knob(20_000, "gradient steps; the learning rate falls to 0 over them, so the time should suffice")
    batch: int = knob(64, "chunks of actions in a gradient step")
    lr: float = knob(3e-4, "learning rate of Adam at its highest; LeRobot's own is 1e-4")
    warmup: int = knob(500, "gradient steps over which it rises")
    average: float = knob(0.999, "the exported weights are a moving average: how much stays at each step; 0: the last")
    observed: int = knob(2, "observations that the network is given: the newest ones")
    horizon: int = knob(
        16, "actions that are denoised at once, from the first of these observations on; a multiple of 8"
    )
    execute: int = knob(8, "how many of them are executed before the network is asked again")
    width: int = knob(64, "channels of the U-Net's first level, doubled twice; LeRobot's own has 512")
    steps: int = knob(10, "of denoising when it acts")
    crop: float = knob(0.9, "share of an image's height and width that it sees, elsewhere in each training step")
    successes: bool = knob(True, "learn from episodes that were solved, alone")


def check(settings: Settings) -> None:
    """Raises UserError for settings that do not go together."""
    s = settings
    if not 1 <= s.execute <= s.horizon - s.observed + 1:
        raise UserError(
            f"execute={s.execute}: at least 1, at most horizon - observed + 1 = {s.horizon - s.observed + 1}"
        )
    if s.horizon % 8 or s.width % 8:
        raise UserError(f"horizon={s.horizon} and width={s.width} must be multiples of 8")
    if not 1 <= s.steps <= 100:
        raise UserError(f"steps={s.steps}: from 1 to 100")
    if not 0 < s.crop <= 1:
        raise UserError(f"crop={s.crop}: above 0, at most 1")


def configure(inputs: dict[str, Any], outputs: dict[str, Any], settings: Settings) -> Any:
    """LeRobot's configuration of these settings. Raises UserError where the policy cannot see what there is to see."""
    from lerobot.configs.types import FeatureType, NormalizationMode, PolicyFeature
    from lerobot.policies.diffusion.configuration_diffusion import DiffusionConfig

    s = settings
    images = {feature.shape for feature in inputs.values() if feature.type is FeatureType.VISUAL}
    if len(images) > 1:
        raise UserError(f"LeRobot's diffusion policy wants images of one size; these are {sorted(images)}: train act")
    if (size := s.horizon * outputs["action"].shape[0]) > MAX_NOISE:
        raise UserError(
            f"horizon={s.horizon} needs {size} numbers of noise; at most {MAX_NOISE} are: a shorter horizon"
        )
    if not any(feature.type is FeatureType.STATE for feature in inputs.values()):  # it insists on one, be it empty
        inputs = {**inputs, "observation.state": PolicyFeature(FeatureType.STATE, (0,))}
    normal = dict.fromkeys(("STATE", "ENV", "ACTION"), NormalizationMode.MIN_MAX) | {
        "VISUAL": NormalizationMode.MEAN_STD
    }
    return DiffusionConfig(
        input_features=inputs, output_features=outputs, normalization_mapping=normal, device="cpu", push_to_hub=False, n_obs_steps=s.observed,
        horizon=s.horizon, n_action_steps=s.execute, drop_n_last_frames=s.horizon - s.execute - s.observed + 1,
        down_dims=(s.width, 2 * s.width, 4 * s.width), noise_scheduler_type="DDIM", num_inference_steps=s.steps,
        crop_shape=tuple(int(s.crop * side) for side in next(iter(images))[1:]) if images else None,
        optimizer_lr=s.lr, scheduler_warmup_steps=s.warmup,
    )  # fmt: skip


class Answer(nn.Module):
    """What the trained policy answers at a step, for `lerobot_graph.Declared`.

    It remembers what it saw (images as their features), `seen`, and that an episode has `begun`: before its first step what is seen
    stands for all that was before.
    """

    ensemble = None

    def __init__(self, policy: Any, settings: Settings) -> None:
        super().__init__()
        self.model, self.config = policy.diffusion, policy.config
        self.steps, self.observed, self.denoising = settings.execute, settings.observed, settings.steps
        self.noise = settings.horizon * policy.config.action_feature.shape[0]
        images = len(policy.config.image_features)
        size = sum(f.shape[0] for f in (policy.config.robot_state_feature, policy.config.env_state_feature) if f)
        if images:
            size += images * self.model.rgb_encoder.feature_dim
            shape = next(iter(policy.config.image_features.values())).shape
            self.model.rgb_encoder.center_crop = _Middle(shape[1:], policy.config.crop_shape)
        past: dict[str, tuple[int, ...]] = {"seen": (1, settings.observed - 1, size), "begun": (1, 1, 1)}
        self.memory = past if settings.observed > 1 else {}

    def forward(
        self, seen: dict[str, Any], told: dict[str, torch.Tensor]
    ) -> tuple[torch.Tensor, dict[str, torch.Tensor]]:
        """(1, steps, a) normalised actions from here on, given a batch of one as the model takes it, and what is remembered next."""
        now = self._condition(seen)
        remembered = {}
        if self.observed > 1:
            before = told["seen"] + (1 - told["begun"]) * now
            whole = torch.cat([before, now], dim=1)
            remembered = {"seen": whole[:, 1:], "begun": torch.ones(1, 1, 1)}
        else:
            whole = now
        actions = self._denoised(told["noise"].reshape(1, self.config.horizon, -1), whole.flatten(1))
        return actions[:, self.observed - 1 : self.observed - 1 + self.steps], remembered

    def _condition(self, seen: dict[str, Any]) -> torch.Tensor:
        """(1, 1, size) of this step, in the model's own order."""
        parts = [seen["observation.state"]] if seen["observation.state"].shape[1] else []
        if images := seen.get("observation.images"):
            parts.append(self.model.rgb_encoder(torch.cat(images)).reshape(1, -1))
        if "observation.environment_state" in seen:
            parts.append(seen["observation.environment_state"])
        return torch.cat(parts, dim=1)[:, None]

    def _denoised(self, sample: torch.Tensor, condition: torch.Tensor) -> torch.Tensor:
        """(1, horizon, a): the steps of DDIM, whose numbers are constants."""
        scheduler = self.model.noise_scheduler
        scheduler.set_timesteps(self.denoising)
        for time in scheduler.timesteps:
            predicted = self.model.unet(sample, torch.full((1,), int(time)), global_cond=condition)
            sample = scheduler.step(predicted, int(time), sample).prev_sample
        return sample


class _Middle(nn.Module):
    """What torchvision's CenterCrop cuts out of images of one size, by numbers that are known beforehand."""

    def __init__(self, whole: tuple[int, int], part: tuple[int, int]) -> None:
        super().__init__()
        (self.top, self.left), self.part = (round((w - p) / 2.0) for w, p in zip(whole, part, strict=True)), part

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        height, width = self.part
        return images[..., self.top : self.top + height, self.left : self.left + width]
