"""Implicit Q-learning: from recorded episodes of mixed quality, without trying anything.

    python recipes/iql.py                                # into runs/iql, and the result becomes this workspace's policy
    python recipes/iql.py --set hidden=512 --minutes 5   # another setting of the algorithm
    aeb job start iql -- python recipes/iql.py --keep   # in the background; --keep leaves the policy as it is
    aeb sweep iql --over expectile=0.7,0.9 --over seed=0,1 \\
        -- python recipes/iql.py --out runs/{name} --seed {seed} --set expectile={expectile} --keep

It imitates the better part of the data, so practise first: without failures in DATA it is cloning, and slower. Read literature/iql.md.

The algorithm is one file to be read: `python -c "import autoenvbench.learning.iql as m; print(m.__file__)"`. To change more than settings, copy it
beside this file and import the copy.
"""

import argparse
from pathlib import Path

from autoenvbench.errors import UserError
from autoenvbench.learning import iql
from autoenvbench.learning.export import adopt
from autoenvbench.learning.train import learn

DATA = ["data/demos", "data/practice"]  # failures teach, too
SETTINGS = ["expectile=0.8", "advantage_weight=10.0", "updates=50000"]
CODE = True  # False where the answer is checkpoints/network.onnx alone

parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
parser.add_argument("--out", type=Path, default=Path("runs/iql"), help="a new folder (default runs/iql)")
parser.add_argument("--minutes", type=float, default=15.0, help="of training at most (default 15)")
parser.add_argument("--seed", type=int, default=0)
parser.add_argument("--set", action="append", default=[], metavar="NAME=VALUE", help="beside or in place of SETTINGS")
parser.add_argument("--resume", action="store_true", help="go on where an interrupted run stood")
parser.add_argument("--keep", action="store_true", help="leave the workspace's policy as it is")


def main() -> None:
    args = parser.parse_args()
    given = {pair.partition("=")[0] for pair in args.set}
    settings = [*(pair for pair in SETTINGS if pair.partition("=")[0] not in given), *args.set]
    policy = learn(
        iql, args.out, data=DATA, minutes=args.minutes, seed=args.seed, settings=settings, resume=args.resume
    )
    print(f"{policy} is written; its curve is {args.out}/curve.csv")
    if not args.keep:
        files = adopt(policy, code=CODE)
        print(
            f"it is the policy now: git add {' '.join(files)}; git commit -m 'iql'"
            if files
            else "it is the answer now: aeb practice"
        )


if __name__ == "__main__":
    try:
        main()
    except UserError as error:
        raise SystemExit(f"iql: {error}") from None
