"""Learns while the robot works: `aeb learn` starts this program beside a session at the station. It is yours to change, or to replace.

The station leaves each episode in data/learn, and whatever replaces live/network.onnx as a whole acts from the next episode on: a network as
TASK.md describes one, with an input `noise` where it shall try something out. This one learns by RLPD (`aeb literature rlpd`): half of every
batch is from the demonstrations, and it begins as a clone of them. What it has learned, without noise, is in checkpoints/network.onnx for the
regimes whose answer is a network (commit, then aeb evaluate), and in live/policy as a policy.py with its weights. It goes on where it stood.
"""

from pathlib import Path

from autoenvbench.learning.on_robot import learn

# `autoenvbench train list` says what each hyperparameter does; a success earns 1 here, and nothing else earns anything.
SETTINGS = [
    "hold=3", "n_step=3", "gamma=0.985", "history=4", "stride=15", "target_low=0", "target_high=1",
    "clone=2000", "bc_weight=10", "bc_final=10", "hidden=128", "critics=5",
    "noise=0.05", "temperature=0.0003", "min_temperature=0.00003", "entropy=-2",
]  # fmt: skip
WITHOUT_DEMOS = ["demo_share=0", "clone=0", "bc_weight=0", "bc_final=0"]  # any episode still says what is seen and done

if __name__ == "__main__":
    shown = Path("data/demos").is_dir()
    learn(
        "data/learn", "live", demos=["data/demos" if shown else "data/practice"], settings=SETTINGS + ([] if shown else WITHOUT_DEMOS),
        answer="checkpoints/network.onnx",
    )  # fmt: skip
