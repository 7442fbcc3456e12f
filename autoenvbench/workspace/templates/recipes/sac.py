"""Soft actor-critic: reinforcement learning in the simulator, from nothing.

    python recipes/sac.py                                # into runs/sac, and the result becomes this workspace's policy
    python recipes/sac.py --set hidden=512 --minutes 5   # another setting of the algorithm
    aeb job start sac -- python recipes/sac.py --keep   # in the background; --keep leaves the policy as it is
    aeb sweep sac --over hold=1,3 --over seed=0,1 \\
        -- python recipes/sac.py --out runs/{name} --seed {seed} --set hold={hold} --keep

A sparse reward is seldom found by chance: see what it earns in runs/sac/curve.csv before you wait. It practises in a simulator of its own,
so this is for the track `open`. Read literature/sac.md.

The algorithm is one file to be read: `python -c "import autoenvbench.learning.sac as m; print(m.__file__)"`. To change more than settings, copy it
beside this file and import the copy.
"""

import argparse
from pathlib import Path

from autoenvbench.errors import UserError
from autoenvbench.learning import sac
from autoenvbench.learning.export import adopt
from autoenvbench.learning.train import learn

DATA: list[str] = []  # "data/demos" would lie in its replay
SETTINGS = ["n_step=3", "hold=3"]
CODE = True  # False where the answer is checkpoints/network.onnx alone

parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
parser.add_argument("--out", type=Path, default=Path("runs/sac"), help="a new folder (default runs/sac)")
parser.add_argument("--minutes", type=float, default=30.0, help="of training at most (default 30)")
parser.add_argument("--seed", type=int, default=0)
parser.add_argument("--set", action="append", default=[], metavar="NAME=VALUE", help="beside or in place of SETTINGS")
parser.add_argument("--resume", action="store_true", help="go on where an interrupted run stood")
parser.add_argument("--keep", action="store_true", help="leave the workspace's policy as it is")


def main() -> None:
    args = parser.parse_args()
    given = {pair.partition("=")[0] for pair in args.set}
    settings = [*(pair for pair in SETTINGS if pair.partition("=")[0] not in given), *args.set]
    policy = learn(
        sac, args.out, data=DATA, minutes=args.minutes, seed=args.seed, settings=settings, resume=args.resume
    )
    print(f"{policy} is written; its curve is {args.out}/curve.csv")
    if not args.keep:
        files = adopt(policy, code=CODE)
        print(
            f"it is the policy now: git add {' '.join(files)}; git commit -m 'sac'"
            if files
            else "it is the answer now: aeb practice"
        )


if __name__ == "__main__":
    try:
        main()
    except UserError as error:
        raise SystemExit(f"sac: {error}") from None
