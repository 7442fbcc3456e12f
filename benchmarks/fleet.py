"""How much sooner a batch of paced episodes is through with more robots: one evaluation of a run on 1, 2, 4 and 8 cells in real time.

    python benchmarks/fleet.py                # ENPIRE/PushT-v0, 16 episodes of 3 s

The physical limit is the number of cells: N robots do N times the work. What falls short of it is the hand-over and the machine: a real-time factor
below 1 says that it could not simulate them all as fast as they would move.
"""

from __future__ import annotations

import argparse
import os
import tempfile
from pathlib import Path

os.environ.setdefault("MUJOCO_GL", "egl")

from autoenvbench.record.ledger import read_events
from autoenvbench.record.metrics import robot_use
from autoenvbench.record.run_config import RunConfig
from autoenvbench.research.run import research

HZ = 10


def measure(cells: int, episodes: int, seconds: float, env: str) -> tuple[float, float]:
    """Wall-clock of the evaluation [s], and how much of real time its episodes kept."""
    config = RunConfig(
        agent=f"command:aeb evaluate -n {episodes} --no-confirm --idea 'The starter, for its time alone'", env=env,
        env_kwargs={"max_episode_steps": round(seconds * HZ)}, budget_s=60 + episodes * (seconds + 1), pace=1.0, cells=cells, sandbox="none",
        nudges=0, held_out=1,
    )  # fmt: skip
    with tempfile.TemporaryDirectory() as folder:
        research(config, Path(folder))
        (ledger,) = Path(folder).glob("*/ledger.sqlite")
        events = read_events(ledger)
    began, ended = (
        next(
            e.t_run
            for e in events
            if e.kind == "evaluation" and e.payload.phase == phase and e.payload.purpose == "evaluate"
        )
        for phase in ("started", "finished")
    )
    use = robot_use(events, ended, cells, config.pace)
    assert use is not None
    return ended - began, use.real_time or 0.0


def main() -> None:
    """Print a row for each number of cells."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--env", default="ENPIRE/PushT-v0")
    parser.add_argument("--episodes", type=int, default=16)
    parser.add_argument("--seconds", type=float, default=3.0, help="of an episode")
    parser.add_argument("--cells", type=int, nargs="+", default=[1, 2, 4, 8])
    args = parser.parse_args()
    alone: float | None = None
    for cells in args.cells:
        took, kept = measure(cells, args.episodes, args.seconds, args.env)
        alone = alone or took * cells
        print(
            f"{cells} cells: {args.episodes} episodes in {took:.1f} s, {alone / took:.2f} times as fast as one (limit {cells}), "
            f"real-time factor {kept:.2f}",
            flush=True,
        )


if __name__ == "__main__":
    main()
