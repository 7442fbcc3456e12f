"""Behaviour cloning: do what the demonstrations did, given what they saw.

    python recipes/bc.py                                # into runs/bc, and the result becomes this workspace's policy
    python recipes/bc.py --set hidden=512 --minutes 5   # another setting of the algorithm
    aeb job start bc -- python recipes/bc.py --keep   # in the background; --keep leaves the policy as it is
    aeb sweep bc --over hidden=256,512 --over seed=0,1 \\
        -- python recipes/bc.py --out runs/{name} --seed {seed} --set hidden={hidden} --keep

What the network sees decides (`history`: looks back, `stride` control steps apart), then who shows, then how many episodes there are. Read
literature/behaviour-cloning.md.

The algorithm is one file to be read: `python -c "import autoenvbench.learning.bc as m; print(m.__file__)"`. To change more than settings, copy it
beside this file and import the copy.
"""

import argparse
from pathlib import Path

from autoenvbench.errors import UserError
from autoenvbench.learning import bc
from autoenvbench.learning.export import adopt
from autoenvbench.learning.train import learn

DATA = ["data/demos"]  # "data/practice" as well: successful episodes of your own
SETTINGS = ["history=12", "hidden=256", "updates=12000"]
CODE = True  # False where the answer is checkpoints/network.onnx alone

parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
parser.add_argument("--out", type=Path, default=Path("runs/bc"), help="a new folder (default runs/bc)")
parser.add_argument("--minutes", type=float, default=10.0, help="of training at most (default 10)")
parser.add_argument("--seed", type=int, default=0)
parser.add_argument("--set", action="append", default=[], metavar="NAME=VALUE", help="beside or in place of SETTINGS")
parser.add_argument("--resume", action="store_true", help="go on where an interrupted run stood")
parser.add_argument("--keep", action="store_true", help="leave the workspace's policy as it is")


def main() -> None:
    args = parser.parse_args()
    given = {pair.partition("=")[0] for pair in args.set}
    settings = [*(pair for pair in SETTINGS if pair.partition("=")[0] not in given), *args.set]
    policy = learn(bc, args.out, data=DATA, minutes=args.minutes, seed=args.seed, settings=settings, resume=args.resume)
    print(f"{policy} is written; its curve is {args.out}/curve.csv")
    if not args.keep:
        files = adopt(policy, code=CODE)
        print(
            f"it is the policy now: git add {' '.join(files)}; git commit -m 'bc'"
            if files
            else "it is the answer now: aeb practice"
        )


if __name__ == "__main__":
    try:
        main()
    except UserError as error:
        raise SystemExit(f"bc: {error}") from None
