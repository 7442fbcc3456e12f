"""A starter: clones the successes under data/ into checkpoints/network.onnx, the answer in this regime. `python train.py`

Normalisation and history are inside the network: its memory holds the last HISTORY observations, normalised and flat, zeros at an episode's
start. Without a successful episode it writes a network that has learned nothing, so that the loop can be tried.
"""

from pathlib import Path

import numpy as np
import torch
from enpire_envs.episodes import Episodes
from torch import nn

HISTORY = 30  # observations in memory: a second at 30 Hz
WIDTH = 256
STEPS = 3000  # of gradient descent
BATCH = 256
RATE = 1e-3
SPACES = {"observation": (1,)}  # name of the input -> shape; images are uint8, all else float32
ACTIONS = 1

FLAT = [name for name, shape in SPACES.items() if len(shape) == 1]
IMAGES = [name for name, shape in SPACES.items() if len(shape) == 3]
SIZE = sum(SPACES[name][0] for name in FLAT)


class Network(nn.Module):
    """Observations (batch, ...) and memory (batch, HISTORY * SIZE) -> action (batch, ACTIONS) in [-1, 1], and the memory after it."""

    mean: torch.Tensor
    std: torch.Tensor

    def __init__(self, mean, std):
        super().__init__()
        self.register_buffer("mean", mean)
        self.register_buffer("std", std)
        self.eyes = nn.ModuleList(
            nn.Sequential(nn.Conv2d(3, 16, 5, 3), nn.ReLU(), nn.Conv2d(16, 32, 3, 2), nn.ReLU(), nn.Conv2d(32, 32, 3, 2), nn.ReLU(),
                          nn.Flatten(), nn.LazyLinear(64), nn.ReLU())
            for _ in IMAGES
        )  # fmt: skip
        inputs = HISTORY * SIZE + 64 * len(IMAGES)
        self.body = nn.Sequential(
            nn.Linear(inputs, WIDTH), nn.ReLU(), nn.Linear(WIDTH, WIDTH), nn.ReLU(), nn.Linear(WIDTH, ACTIONS)
        )

    def forward(self, *inputs):
        *seen, memory = inputs
        named = dict(zip(SPACES, seen, strict=True))
        now = (torch.cat([named[name] for name in FLAT], 1) - self.mean) / self.std
        memory = torch.cat([memory[:, SIZE:], now], 1)
        looks = [
            eye(named[name].float().permute(0, 3, 1, 2) / 255) for eye, name in zip(self.eyes, IMAGES, strict=True)
        ]
        return torch.tanh(self.body(torch.cat([memory, *looks], 1))), memory


def load():
    """Successful episodes of every folder of data/: lists of {input: (steps, ...)} and of actions (steps, ACTIONS)."""
    seen, acted = [], []
    for folder in sorted({path.parent for path in Path("data").rglob("*.episode")}):
        for episode in Episodes(folder).select(lambda meta: meta["verdict"]["success"]):
            seen.append({name: np.asarray(episode[name])[:-1] for name in SPACES})  # of an image, a column of its own
            acted.append(np.clip(np.asarray(episode["action"], np.float32), -1, 1))
    return seen, acted


def main():
    torch.manual_seed(0)
    rng = np.random.default_rng(0)
    seen, acted = load()
    print(f"{len(seen)} successful episodes, {sum(map(len, acted))} steps")
    flat = [np.concatenate([part[name] for name in FLAT], 1).astype(np.float32) for part in seen]
    of_all = np.concatenate(flat) if flat else np.zeros((1, SIZE), np.float32)
    mean, std = of_all.mean(0), of_all.std(0) + 1e-3
    network = Network(torch.tensor(mean), torch.tensor(std))
    blank = [torch.zeros((1, *SPACES[name]), dtype=torch.uint8 if name in IMAGES else torch.float32) for name in SPACES]
    network(*blank, torch.zeros(1, HISTORY * SIZE))  # sizes the layers that look at images
    optimiser = torch.optim.Adam(network.parameters(), RATE)
    padded = [np.concatenate([np.zeros((HISTORY, SIZE), np.float32), (part - mean) / std]) for part in flat]
    where = np.array([(k, t) for k, part in enumerate(acted) for t in range(len(part))])
    for step in range(STEPS if seen else 0):
        picked = where[rng.integers(len(where), size=BATCH)]
        memory = torch.tensor(np.stack([padded[k][t : t + HISTORY].ravel() for k, t in picked]))
        inputs = [torch.tensor(np.stack([seen[k][name][t] for k, t in picked])) for name in SPACES]
        action, _ = network(*inputs, memory)
        loss = nn.functional.mse_loss(action, torch.tensor(np.stack([acted[k][t] for k, t in picked])))
        optimiser.zero_grad()
        loss.backward()
        optimiser.step()
        if step % 500 == 0:
            print(f"step {step}  loss {loss.item():.4f}", flush=True)
    Path("checkpoints").mkdir(exist_ok=True)
    torch.onnx.export(
        network.eval(), (*blank, torch.zeros(1, HISTORY * SIZE)), "checkpoints/network.onnx", dynamo=False,
        input_names=[*SPACES, "memory"], output_names=["action", "memory.next"],
    )  # fmt: skip
    print("checkpoints/network.onnx is written: commit, then aeb practice")


if __name__ == "__main__":
    main()
