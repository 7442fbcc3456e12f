"""A policy of LeRobot's as one declared network (see `station.networks`): normalisation, memory and chunks of actions are in its graph.

Whatever the algorithm, a step is: numbers and images are normalised as LeRobot does it, `Answer` says what to do from here on, and

    execute   the first actions of an answer are done one after the other: `plan` is what is left of it, the next first, and `wait` a 1 that
              moves one place at each of these steps; a new plan is taken where there is none
    ensemble  each answer joins those of earlier steps: `plan` is their weighted sum, `mass` the sum of their weights, `count` how many they
              are, for each step to come

Nothing branches: the network is evaluated at each step, and 1 or 0 times its answer taken.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import torch
from torch import nn

_OPSET = 17
CLIP = 10.0  # of numbers that are normalised: what hardly varied in the data must not become huge elsewhere


class Declared(nn.Module):
    """The network, as the policy host runs it.

    Args:
        parts: of an observation, in order: `name` of the input, `key` in LeRobot, `shape`, and whether it is an `image`.
        answer: see the module of the algorithm.
        numbers: what LeRobot's configuration calls all vectors, end to end: key and width; None without any.
        scale: for each key, and "action": (offset, scale) by which x is (x - offset) / scale when it is normalised.
        actions: numbers of an action.
    """

    def __init__(
        self,
        parts: Sequence[Mapping[str, Any]],
        answer: Any,
        numbers: str | None,
        scale: Mapping[str, Any],
        actions: int,
    ) -> None:
        super().__init__()
        self.parts, self.answer, self.numbers, self.scale, self.actions = parts, answer, numbers, scale, actions
        steps = answer.steps
        self.memory: dict[str, tuple[int, ...]] = dict(answer.memory)
        if answer.ensemble is not None:
            self.memory |= {"plan": (1, steps, actions), "mass": (1, steps, 1), "count": (1, steps, 1)}
        elif steps > 1:
            self.memory |= {"plan": (1, steps, actions), "wait": (1, steps - 1)}

    @property
    def inputs(self) -> dict[str, torch.Tensor]:
        """One of each, by name."""
        told = {
            p["name"]: torch.zeros(1, *p["shape"], dtype=torch.uint8 if p["image"] else torch.float32)
            for p in self.parts
        }
        noise = {"noise": torch.zeros(1, self.answer.noise)} if self.answer.noise else {}
        return told | noise | {name: torch.zeros(shape) for name, shape in self.memory.items()}

    def forward(self, *values: torch.Tensor) -> tuple[torch.Tensor, ...]:
        """The action, and what is remembered, in the order of `memory`."""
        told = dict(zip(self.inputs, values, strict=True))
        plan, remembered = self.answer(self._seen(told), told)
        if self.answer.ensemble is not None:
            action, more = self._averaged(plan, told)
        elif self.answer.steps > 1:
            action, more = self._executed(plan, told)
        else:
            action, more = plan[:, 0], {}
        offset, scale = self.scale["action"]
        remembered |= more
        return action * scale + offset, *(remembered[name] for name in self.memory)

    def _seen(self, told: dict[str, torch.Tensor]) -> dict[str, Any]:
        """A batch of one, as LeRobot's models take it."""
        vectors = [told[p["name"]] for p in self.parts if not p["image"]]
        images = [
            self._normal(told[p["name"]].float().permute(0, 3, 1, 2) / 255, p["key"]) for p in self.parts if p["image"]
        ]
        seen: dict[str, Any] = {"observation.state": torch.zeros(1, 0)}
        if self.numbers is not None:
            seen[self.numbers] = self._normal(torch.cat(vectors, dim=1), self.numbers).clamp(-CLIP, CLIP)
        return seen | ({"observation.images": images} if images else {})

    def _normal(self, x: torch.Tensor, key: str) -> torch.Tensor:
        offset, scale = self.scale[key]
        return (x - offset) / scale

    def _executed(
        self, fresh: torch.Tensor, told: dict[str, torch.Tensor]
    ) -> tuple[torch.Tensor, dict[str, torch.Tensor]]:
        taken = 1 - told["wait"].sum(dim=1, keepdim=True)
        plan = told["plan"] * (1 - taken[:, None]) + fresh * taken[:, None]
        rest = torch.cat([plan[:, 1:], torch.zeros(1, 1, self.actions)], dim=1)
        return plan[:, 0], {"plan": rest, "wait": torch.cat([taken, told["wait"][:, :-1]], dim=1)}

    def _averaged(
        self, fresh: torch.Tensor, told: dict[str, torch.Tensor]
    ) -> tuple[torch.Tensor, dict[str, torch.Tensor]]:
        weight = torch.exp(-self.answer.ensemble * told["count"])
        plan, mass, count = told["plan"] + weight * fresh, told["mass"] + weight, told["count"] + 1
        later = {"plan": plan, "mass": mass, "count": count}
        blank = {name: torch.zeros(1, 1, value.shape[2]) for name, value in later.items()}
        return plan[:, 0] / mass[:, 0], {name: torch.cat([later[name][:, 1:], blank[name]], dim=1) for name in later}


def write(network: Declared, file: Path) -> None:
    """Export it, whole or not at all."""
    network.eval()
    inputs = network.inputs
    torch.backends.mha.set_fastpath_enabled(False)
    part = file.with_suffix(".part")
    with torch.no_grad():
        network(*inputs.values())  # constants are computed once before the graph is drawn
        torch.onnx.export(
            network, tuple(inputs.values()), str(part), dynamo=False, opset_version=_OPSET, input_names=list(inputs),
            output_names=["action", *(f"{name}.next" for name in network.memory)],
        )  # fmt: skip
    part.replace(file)
