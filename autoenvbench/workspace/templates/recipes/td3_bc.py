"""TD3+BC: an actor that does what its critics prefer, and stays close to the data.

    python recipes/td3_bc.py                                # into runs/td3_bc, and the result becomes this workspace's policy
    python recipes/td3_bc.py --set hidden=512 --minutes 5   # another setting of the algorithm
    aeb job start td3_bc -- python recipes/td3_bc.py --keep   # in the background; --keep leaves the policy as it is
    aeb sweep td3_bc --over critic_weight=1.0,2.5 --over seed=0,1 \\
        -- python recipes/td3_bc.py --out runs/{name} --seed {seed} --set critic_weight={critic_weight} --keep

`critic_weight` is what the critics' word counts beside the data's: 0 is cloning. Read literature/td3-bc.md.

The algorithm is one file to be read: `python -c "import autoenvbench.learning.td3_bc as m; print(m.__file__)"`. To change more than settings, copy it
beside this file and import the copy.
"""

import argparse
from pathlib import Path

from autoenvbench.errors import UserError
from autoenvbench.learning import td3_bc
from autoenvbench.learning.export import adopt
from autoenvbench.learning.train import learn

DATA = ["data/demos", "data/practice"]  # failures teach, too
SETTINGS = ["critic_weight=2.5", "updates=50000"]
CODE = True  # False where the answer is checkpoints/network.onnx alone

parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
parser.add_argument("--out", type=Path, default=Path("runs/td3_bc"), help="a new folder (default runs/td3_bc)")
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
        td3_bc, args.out, data=DATA, minutes=args.minutes, seed=args.seed, settings=settings, resume=args.resume
    )
    print(f"{policy} is written; its curve is {args.out}/curve.csv")
    if not args.keep:
        files = adopt(policy, code=CODE)
        print(
            f"it is the policy now: git add {' '.join(files)}; git commit -m 'td3_bc'"
            if files
            else "it is the answer now: aeb practice"
        )


if __name__ == "__main__":
    try:
        main()
    except UserError as error:
        raise SystemExit(f"td3_bc: {error}") from None
