"""The ideas by which agents climbed the paper's pin insertion (ENPIRE, arXiv 2606.19980), one at a time, at equal robot time:

    python benchmarks/pin_ideas.py --out ideas                # all arms and seeds; goes on where it was
    python benchmarks/pin_ideas.py --out ideas --dry-run      # the commands that are left, and what they cost in processor time

Each arm is a call of `autoenvbench train rlpd --set ...` for each seed. Within a seed all arms have the same demonstrations, the same training
seed and the same fresh starts, so an idea is worth the difference to the arm that it changes, paired by seed (95 %, Student's t). It counts as
reproduced where that interval lies above zero, and as not reproduced where it lies below what the paper says. RLPD is as published but for
one gradient step a decision in place of twenty, half the width, decisions held for 0.1 s, 2 s of history, little noise (a search by touch
needs these), and targets clipped to what can be earned. The paper's points are of its team's average while it climbed from 12 to 97 %, and
were not measured apart.

The tables, with intervals, lie in OUT/pin_ideas.md, and curves with bands in OUT/pin_ideas.png and .svg.
"""

from __future__ import annotations

import os

os.environ.setdefault("OMP_NUM_THREADS", "1")

import argparse
import csv
import json
import shlex
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from learning import run
from scipy import stats

from autoenvbench.learning.buffer import Batch
from autoenvbench.learning.rlpd import RLPD, Settings
from autoenvbench.learning.settings import parse_settings
from autoenvbench.publish.figures import INK, SOFT, new_figure

PIN, HZ = "ENPIRE/PinInsertion-v0", 30
FRESH = 975_000  # the score of training seed k has the starts of seed FRESH + k, which nothing else has
DEMOS = 20
OBS, ACTIONS = 70, 3
#: What all arms have in common.
SHARED = (
    "history=4", "stride=15", "hold=3", "target_low=0", "target_high=1", "noise=0.05", "temperature=0.001",
    "min_temperature=0.0001", "entropy=-1.5", "hidden=128", "record_every=10",
)  # fmt: skip
#: The base that the residual corrects: cloning, at the same rate of decisions.
BASE = ("td3_bc", ("critic_weight=0", "hold=3", "history=4", "stride=15", "updates=6000"))
GRADIENTS = (
    0.87  # share of the processor time of training that gradient steps have; the rest is the environment and acting
)


def bc(weight: float) -> tuple[str, ...]:
    """Settings of a BC term that falls to a tenth of its weight."""
    return (f"bc_weight={weight:g}", f"bc_final={weight / 10:g}", "bc_steps=10000")


@dataclass(frozen=True)
class Arm:
    """A way to learn.

    Attributes:
        settings: beside those that all share; "{base}" is the folder of the cloned base.
        change: what it changes of which arm, in words; of: that arm.
        paper: percentage points that the paper gives the idea, where it does.
    """

    name: str
    settings: Sequence[str]
    change: str = ""
    of: str = ""
    paper: float | None = None

    @property
    def all_settings(self) -> list[str]:
        """NAME=VALUE, the arm's own in place of shared ones."""
        own = {pair.partition("=")[0] for pair in self.settings}
        return [*(pair for pair in SHARED if pair.partition("=")[0] not in own), *self.settings]


ARMS = (
    Arm("online", ("demo_share=0",)),
    Arm("demos", (), "demonstrations in half of each batch", "online", 3.8),
    Arm("bc", bc(1), "BC term on the actor, weight 1", "demos", 10.8),
    Arm("bc-0.1", bc(0.1), "BC weight 0.1 in place of 1", "bc", 0.4),
    Arm("bc-10", bc(10), "BC weight 10 in place of 1", "bc", 0.4),
    Arm("batch-1024", (*bc(1), "batch=1024"), "batch 1024 in place of 256", "bc"),
    Arm("batch-512", (*bc(1), "batch=512"), "batch 512 in place of 1024", "batch-1024", 0.9),
    Arm("lead", (*bc(1), "lead=2"), "commands run two steps ahead of the controller", "bc", 1.3),
    Arm("residual", ("base={base}", "residual=0.2"), "corrects a clone of the demonstrations", "demos"),
)


def main() -> None:
    """Run what is not there yet, and write tables and figure."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--arms", nargs="+", choices=[arm.name for arm in ARMS], default=[arm.name for arm in ARMS])
    parser.add_argument("--seeds", type=int, default=5)
    parser.add_argument("--robot-minutes", type=float, default=30.0, help="of each training (default 30)")
    parser.add_argument("--starts", type=int, default=200, help="fresh ones, of each score (default 200)")
    parser.add_argument("--minutes", type=float, default=1e9, help="after which no further training is begun")
    parser.add_argument("--dry-run", action="store_true")
    args = parser.parse_args()
    args.out.mkdir(parents=True, exist_ok=True)
    _same(args.out / "pin_ideas.json", {"robot_minutes": args.robot_minutes, "starts": args.starts, "demos": DEMOS})
    arms = [arm for arm in ARMS if arm.name in args.arms]
    end = time.monotonic() + 60 * args.minutes
    left = [(seed, arm) for seed in range(1, args.seeds + 1) for arm in arms if not _result(args.out, arm, seed)]
    costs = {arm.name: expected_cpu_s(arm, args.robot_minutes) for arm in {arm.name: arm for _, arm in left}.values()}
    whole = sum(costs[arm.name] for _, arm in left) / 3600
    print(
        f"{len(left)} trainings are left: about {whole:.1f} hours of processor time, and the scores of {args.starts} starts each"
    )
    for seed, arm in left:
        if args.dry_run:
            line = shlex.join(train_line(arm, seed, args.out, args.robot_minutes))
            print(f"autoenvbench {line}  # about {costs[arm.name] / 60:.0f} minutes of processor time")
        elif time.monotonic() < end:
            measure(arm, seed, args.out, args.robot_minutes, args.starts)
            write(args.out, arms, args.seeds)
    if not args.dry_run:
        print(write(args.out, arms, args.seeds))


# -- one training ------------------------------------------------------------------------------------------------------
def demos_of(seed: int, out: Path) -> Path:
    """The folder of a seed's demonstrations, which all arms learn from."""
    return out / "demonstrations" / str(seed)


def train_line(arm: Arm, seed: int, out: Path, robot_minutes: float) -> list[str]:
    """Arguments of `autoenvbench` by which an arm is trained."""
    pairs = [pair.format(base=out / "base" / str(seed) / "policy") for pair in arm.all_settings]
    return _train("rlpd", [*pairs, f"robot_minutes={robot_minutes:g}"], seed, out, out / arm.name / str(seed))


def measure(arm: Arm, seed: int, out: Path, robot_minutes: float, starts: int) -> None:
    """Train an arm and score it; what is there already is not done again."""
    if not demos_of(seed, out).exists():
        run(["demos", "--env", PIN, "--by", "scripted", "-n", str(DEMOS), "--seed", str(seed), "--out", str(demos_of(seed, out))])  # fmt: skip
    if any("{base}" in pair for pair in arm.settings):
        algorithm, settings = BASE
        _finish(_train(algorithm, settings, seed, out, out / "base" / str(seed)), out / "base" / str(seed))
    folder = out / arm.name / str(seed)
    _finish(train_line(arm, seed, out, robot_minutes), folder)
    line = ["score", "--env", PIN, "--policy", str(folder / "policy"), "-n", str(starts), "--seed", str(FRESH + seed), "--json"]  # fmt: skip
    text, (_, cpu) = run(line)
    part = folder / "score.part"
    part.write_text(json.dumps({**json.loads(text), "score_cpu_s": round(cpu, 1)}) + "\n")
    part.replace(folder / "score.json")


def _train(algorithm: str, pairs: Sequence[str], seed: int, out: Path, folder: Path) -> list[str]:
    chosen = [text for pair in pairs for text in ("--set", pair)]
    demos = str(demos_of(seed, out))
    return ["train", algorithm, "--env", PIN, "--demos", demos, "--minutes", "10000", "--seed", str(seed), "--out", str(folder), *chosen]  # fmt: skip


def _finish(line: list[str], folder: Path) -> None:
    """Train until there is a policy, from the checkpoint on where there is one; cost.json adds up the processor time [s]."""
    if (folder / "policy").exists():
        return
    spent = run([*line, *(["--resume"] if (folder / "checkpoint.pt").exists() else [])])[1][1]
    cost = folder / "cost.json"
    cost.write_text(json.dumps(spent + (json.loads(cost.read_text()) if cost.exists() else 0.0)))


def expected_cpu_s(arm: Arm, robot_minutes: float) -> float:
    """Processor time of a training [s], by a dozen gradient steps of its size."""
    pairs = [pair for pair in arm.all_settings if not pair.startswith("base=")]
    s = parse_settings(Settings, pairs)
    torch.set_num_threads(1)
    obs = OBS * (1 + s.history) + ACTIONS * s.history
    learner, size = RLPD(obs, ACTIONS, s), s.batch
    batch = Batch(torch.randn(size, obs), torch.rand(size, ACTIONS), torch.rand(size), torch.randn(size, obs),
                  torch.ones(size), torch.zeros(size, dtype=torch.int64))  # fmt: skip
    shown = batch if s.bc_weight else None
    for k in range(15):
        if k == 3:
            before = time.process_time()
        learner.update(batch, shown)
    step = (time.process_time() - before) / 12
    return step * s.updates * robot_minutes * 60 * HZ / s.hold / GRADIENTS


# -- what came of it ---------------------------------------------------------------------------------------------------
def _result(out: Path, arm: Arm, seed: int) -> dict[str, Any] | None:
    file = out / arm.name / str(seed) / "score.json"
    return json.loads(file.read_text()) if file.exists() else None


def rates(out: Path, arm: str, seeds: int) -> dict[int, float]:
    """Success on fresh starts, by seed."""
    by_name = {arm.name: arm for arm in ARMS}
    found = {seed: _result(out, by_name[arm], seed) for seed in range(1, seeds + 1)}
    return {seed: result["successes"] / result["episodes"] for seed, result in found.items() if result}


def interval(values: Sequence[float]) -> tuple[float, float, float]:
    """Mean, and its 95 % interval by Student's t; NaN for the interval of fewer than two."""
    array = np.asarray(values)
    if len(array) < 2:
        return float(array.mean()), float("nan"), float("nan")
    half = stats.t.ppf(0.975, len(array) - 1) * array.std(ddof=1) / len(array) ** 0.5
    return float(array.mean()), float(array.mean() - half), float(array.mean() + half)


def verdict(low: float, high: float, paper: float | None) -> str:
    """Whether an idea's gain [percentage points], by its interval, is what the paper says."""
    if np.isnan(low):
        return "too few seeds"
    if low > 0:
        return "helps; reproduced" if paper is not None else "helps"
    if high < 0:
        return "harms"
    if paper is not None and high < paper:
        return "not reproduced: less than the paper's"
    return "undecided: the interval holds zero" + (" and the paper's" if paper is not None else "")


def write(out: Path, arms: Sequence[Arm], seeds: int) -> str:
    """Tables and figure of what there is; returns the tables."""
    lines = [
        "| arm | success on fresh starts, mean [95 %] | each seed | processor time of a training |",
        "|---|---|---|---|",
    ]
    for arm in arms:
        if found := rates(out, arm.name, seeds):
            mean, low, high = (min(max(100 * value, 0.0), 100.0) for value in interval(list(found.values())))
            costs = [json.loads(f.read_text()) for f in sorted((out / arm.name).glob("*/cost.json"))]
            each = ", ".join(f"{100 * rate:.0f}" for rate in found.values())
            lines.append(
                f"| {arm.name} | {mean:.1f} % [{low:.1f}, {high:.1f}] | {each} | {np.mean(costs) / 60:.0f} min |"
            )
    lines += ["", "| idea | against | points, paired by seed [95 %] | paper | |", "|---|---|---|---|---|"]
    for arm in arms:
        one, other = rates(out, arm.name, seeds), rates(out, arm.of, seeds) if arm.of else {}
        if both := sorted(one.keys() & other.keys()):
            mean, low, high = interval([100 * (one[seed] - other[seed]) for seed in both])
            said = "-" if arm.paper is None else f"+{arm.paper:g}"
            lines.append(
                f"| {arm.change} | {arm.of} | {mean:+.1f} [{low:+.1f}, {high:+.1f}], {len(both)} seeds | {said} | {verdict(low, high, arm.paper)} |"
            )
    text = "\n".join(lines)
    (out / "pin_ideas.md").write_text(text + "\n")
    figure = draw(out, arms, seeds)
    for kind in ("png", "svg"):
        figure.savefig(out / f"pin_ideas.{kind}", dpi=150)
    return text


def curves(out: Path, arm: Arm, seeds: int) -> Iterator[tuple[np.ndarray, np.ndarray]]:
    """Of each seed: robot time [min], and success in the 50 episodes before, with what was tried out."""
    for seed in range(1, seeds + 1):
        file = out / arm.name / str(seed) / "curve.csv"
        if file.exists() and (rows := list(csv.DictReader(file.read_text().splitlines()))):
            at = np.array([float(row["robot_steps"]) for row in rows]) / HZ / 60
            yield at, np.array([float(row["success"]) for row in rows])


def draw(out: Path, arms: Sequence[Arm], seeds: int) -> Any:
    """Curves of all arms, the mean over seeds with its 95 % band; beside them what they reached on fresh starts."""
    figure = new_figure(11, 4.2)
    left, right = figure.subplots(1, 2, width_ratios=[1.6, 1])
    for k, arm in enumerate(arms):
        colour, found = f"C{k}", list(curves(out, arm, seeds))
        if found:
            grid = np.linspace(max(at[0] for at, _ in found), min(at[-1] for at, _ in found), 60)
            bands = np.array([interval(column) for column in np.array([np.interp(grid, *one) for one in found]).T])
            left.plot(grid, bands[:, 0], color=colour, label=arm.name)
            left.fill_between(
                grid, bands[:, 1].clip(0, 1), bands[:, 2].clip(0, 1), color=colour, alpha=0.15, linewidth=0
            )
        if values := list(rates(out, arm.name, seeds).values()):
            mean, low, high = interval(values)
            right.plot([k] * len(values), values, ".", color=SOFT, markersize=5)
            spread = None if np.isnan(low) else [[mean - max(low, 0)], [min(high, 1) - mean]]
            right.errorbar([k], [mean], yerr=spread, fmt="o", color=colour, capsize=3)
    left.set_xlabel("robot time [min]", color=INK)
    left.set_ylabel("success while learning, 50 episodes", color=INK)
    if left.lines:
        left.legend(frameon=False, fontsize=8)
    right.set_xticks(range(len(arms)), [arm.name for arm in arms], rotation=60, ha="right", fontsize=8)
    right.set_ylabel("success on fresh starts", color=INK)
    for ax in (left, right):
        ax.set_ylim(-0.02, 1.02)
        ax.yaxis.set_major_formatter(lambda v, _: f"{v:.0%}")
    figure.suptitle("Pin insertion: the paper's ideas, mean over seeds with 95 % bands", color=INK, fontsize=12)
    return figure


def _same(file: Path, about: dict[str, Any]) -> None:
    """Arms that are compared have the same budget. Raises SystemExit."""
    if file.exists() and (was := json.loads(file.read_text())) != about:
        raise SystemExit(f"{file.parent} was begun with {was}; repeat that, or name a new folder")
    file.write_text(json.dumps(about) + "\n")


if __name__ == "__main__":
    main()
