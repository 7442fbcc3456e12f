"""IQL beside behaviour cloning on the named data sets: what a learner makes of data of mixed quality, and of an expert's alone.

    python benchmarks/offline.py --out offline                          # all sets, learners and seeds; goes on where it was
    python benchmarks/offline.py --out offline --sets pin-mixed-v0 --seeds 2

Learners have the same inputs and widths, and within a seed the same fresh starts, on which nothing was tuned. `bc` clones the episodes that
were solved, `bc-all` all of them, as D4RL's tables do. A set's verdict is the difference of success rates, paired by seed, with its 95 %
interval (Student's t over the seeds). IQL's settings are the best of a dozen
that were tried on pin-mixed-v0 and two drafts of it, with a training seed and 30 starts of their own.

A set is made in OUT/sets when it is not there; each run is a file OUT/<set>/<learner>/<seed>.json.
"""

from __future__ import annotations

import os

os.environ.setdefault("OMP_NUM_THREADS", "1")

import argparse
import json
import tempfile
import time
from importlib import import_module
from pathlib import Path
from typing import Any

import numpy as np
from scipy import stats

from autoenvbench.learning.bundle.policy import Actor
from autoenvbench.learning.collect import run_episode
from autoenvbench.learning.episodes import load
from autoenvbench.learning.run import Training
from autoenvbench.learning.settings import parse_settings
from autoenvbench.make_env import make_env
from autoenvbench.study.data_sets import check_set, find_set, published, record_set

FRESH = 970_000  # the starts of training seed k begin at FRESH + 1000 k
_SAME = ("history=4", "stride=15", "hidden=128", "batch=256")
#: Learner -> algorithm of `autoenvbench train`, and its settings. A success earns 1 once, some 40 decisions away: one-step targets carry
#: that back too slowly, and advantages of a few hundredths need a large weight.
LEARNERS = {
    "bc": ("bc", (*_SAME, "updates=1500")),
    "bc-all": ("bc", (*_SAME, "updates=1500", "successes=false")),
    "iql": (
        "iql",
        (
            *_SAME, "updates=1500", "learning_rate=1e-3", "hold=3", "gamma=0.98", "n_step=40", "tracking=0.05", "expectile=0.7",
            "advantage_weight=500", "actor_layer_norm=true",
        ),
    ),
}  # fmt: skip


def main() -> None:
    """Run what is not there yet, and print the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--sets", nargs="+", choices=list(published()), default=list(published()), metavar="NAME")
    parser.add_argument("--learners", nargs="+", choices=list(LEARNERS), default=list(LEARNERS))
    parser.add_argument("--seeds", type=int, default=5)
    parser.add_argument("--starts", type=int, default=100, help="of each seed (default 100, at most 1000)")
    parser.add_argument("--minutes", type=float, default=1000, help="after which no further run is begun")
    args = parser.parse_args()
    end = time.monotonic() + 60 * args.minutes
    for seed in range(1, args.seeds + 1):
        for name in args.sets:
            for learner in args.learners:
                file = args.out / name / learner / f"{seed}.json"
                if not file.exists() and time.monotonic() < end:
                    run(file, made(name, args.out / "sets" / name), learner, seed, args.starts)
                    print(f"{name} {learner} seed {seed}: {_said(json.loads(file.read_text()))}", flush=True)
    print("| set | episodes, solved | " + " | ".join(args.learners) + " | iql - bc | iql - bc-all |")
    print("|---" * (4 + len(args.learners)) + "|")
    for name in args.sets:
        if (args.out / "sets" / name).exists():
            print(row(name, args.out, args.learners))


def made(name: str, folder: Path) -> Path:
    """The folder of a set, which is made where it is not there."""
    if not folder.exists():
        folder.parent.mkdir(parents=True, exist_ok=True)
        record_set(find_set(name), folder)
    return folder


def run(file: Path, data: Path, learner: str, seed: int, starts: int) -> None:
    """Train and score, and write it down whole or not at all."""
    about = check_set(data)
    algorithm, settings = LEARNERS[learner]
    module = import_module(f"autoenvbench.learning.{algorithm}")
    env, demos, before = make_env(about["env"]), load([data]), time.process_time()
    demos.check(env)
    with tempfile.TemporaryDirectory() as folder:
        training = Training(Path(folder) / "run", seed=seed, minutes=600, checkpoint_every=1e9)
        policy = Actor(*module.train(env, demos, parse_settings(module.Settings, settings), training))
    cpu = time.process_time() - before
    first = FRESH + 1000 * seed
    solved = [run_episode(env, policy, start).success for start in range(first, first + starts)]
    env.close()
    result = {
        "solved": solved, "sha256": about["sha256"], "settings": settings, "train_cpu_s": round(cpu, 1),
        "score_cpu_s": round(time.process_time() - before - cpu, 1),
    }  # fmt: skip
    file.parent.mkdir(parents=True, exist_ok=True)
    part = file.with_suffix(".part")
    part.write_text(json.dumps(result) + "\n")
    part.replace(file)


def row(name: str, out: Path, learners: list[str]) -> str:
    """A set's line of the table."""
    about = json.loads((out / "sets" / name / "data_set.json").read_text())
    found = {learner: _results(out / name / learner, about["sha256"]) for learner in LEARNERS}
    rates = [
        f"{100 * np.mean(_rates(found[learner])):.1f} % ({len(found[learner])} seeds)" if found[learner] else "-"
        for learner in learners
    ]
    gains = [gain(found["iql"], found[other]) for other in ("bc", "bc-all")]
    return f"| {name} | {about['episodes']}, {about['successes']} | {' | '.join([*rates, *gains])} |"


def gain(ours: dict[str, Any], theirs: dict[str, Any]) -> str:
    """Difference of success rates in percent, paired by seed, with its interval. Raises SystemExit where starts differ."""
    seeds = sorted(ours.keys() & theirs.keys())
    if len(seeds) < 2:
        return "-"
    if any(len(ours[seed]["solved"]) != len(theirs[seed]["solved"]) for seed in seeds):
        raise SystemExit("runs were scored on different numbers of starts; give a new --out")
    differences = 100 * (_rates({s: ours[s] for s in seeds}) - _rates({s: theirs[s] for s in seeds}))
    half = stats.t.ppf(0.975, len(seeds) - 1) * differences.std(ddof=1) / len(seeds) ** 0.5
    return f"{differences.mean():+.1f} [{differences.mean() - half:+.1f}, {differences.mean() + half:+.1f}]"


def _results(folder: Path, sha256: str) -> dict[str, Any]:
    """Results by seed, of these data alone."""
    read = {file.stem: json.loads(file.read_text()) for file in sorted(folder.glob("*.json"))}
    return {seed: result for seed, result in read.items() if result["sha256"] == sha256}


def _rates(results: dict[str, Any]) -> np.ndarray:
    return np.array([np.mean(result["solved"]) for result in results.values()])


def _said(result: dict[str, Any]) -> str:
    solved = result["solved"]
    return f"{sum(solved)} of {len(solved)}; processor time {result['train_cpu_s']:.0f} s to train, {result['score_cpu_s']:.0f} s to score"


if __name__ == "__main__":
    main()
