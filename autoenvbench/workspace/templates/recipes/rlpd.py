"""RLPD: reinforcement learning in the simulator, half of every batch from demonstrations, with a cloning term that fades.

    python recipes/rlpd.py                                # into runs/rlpd, and the result becomes this workspace's policy
    python recipes/rlpd.py --set hidden=512 --minutes 5   # another setting of the algorithm
    aeb job start rlpd -- python recipes/rlpd.py --keep   # in the background; --keep leaves the policy as it is
    aeb sweep rlpd --over hold=1,3 --over seed=0,1 \\
        -- python recipes/rlpd.py --out runs/{name} --seed {seed} --set hold={hold} --keep

Decisions that are held (`hold`) explore further and are fewer to learn. It practises in a simulator of its own, so this is for the track
`open`. Read literature/rlpd.md.

The algorithm is one file to be read: `python -c "import autoenvbench.learning.rlpd as m; print(m.__file__)"`. To change more than settings, copy it
beside this file and import the copy.
"""

import argparse
from pathlib import Path

from autoenvbench.errors import UserError
from autoenvbench.learning import rlpd
from autoenvbench.learning.export import adopt
from autoenvbench.learning.train import learn

DATA = ["data/demos"]
SETTINGS = ["clone=2000", "bc_weight=1.0", "n_step=3", "target_low=0.0", "target_high=1.0"]
CODE = True  # False where the answer is checkpoints/network.onnx alone

parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
parser.add_argument("--out", type=Path, default=Path("runs/rlpd"), help="a new folder (default runs/rlpd)")
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
        rlpd, args.out, data=DATA, minutes=args.minutes, seed=args.seed, settings=settings, resume=args.resume
    )
    print(f"{policy} is written; its curve is {args.out}/curve.csv")
    if not args.keep:
        files = adopt(policy, code=CODE)
        print(
            f"it is the policy now: git add {' '.join(files)}; git commit -m 'rlpd'"
            if files
            else "it is the answer now: aeb practice"
        )


if __name__ == "__main__":
    try:
        main()
    except UserError as error:
        raise SystemExit(f"rlpd: {error}") from None
