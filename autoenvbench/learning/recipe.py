"""What the programs in a workspace's recipes/ share: their command line, and that what was learned becomes the workspace's policy."""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from pathlib import Path
from types import ModuleType

from autoenvbench.errors import UserError
from autoenvbench.learning.export import adopt
from autoenvbench.learning.train import learn


def main(
    algorithm: ModuleType, page: str | None, *, data: Sequence[str], settings: Sequence[str], minutes: float, code: bool
) -> None:
    """Learn in the working folder, by the arguments of the command line.

    Args:
        algorithm: a module of `autoenvbench.learning`, or an edited copy of one.
        page: the program's docstring.
        data: folders of episodes; settings: NAME=VALUE, unless --set says otherwise; minutes: of training, unless --minutes does.
        code: false where the answer is checkpoints/network.onnx alone.
    """
    name = algorithm.__name__.rpartition(".")[2]
    args = _parser(name, page or "", minutes).parse_args()
    given = {pair.partition("=")[0] for pair in args.set}
    chosen = [*(pair for pair in settings if pair.partition("=")[0] not in given), *args.set]
    try:
        policy = learn(
            algorithm, args.out, data=data, minutes=args.minutes, seed=args.seed, settings=chosen, resume=args.resume
        )
    except UserError as error:
        raise SystemExit(f"{name}: {error}") from None
    print(f"{policy} is written; its curve is {args.out}/curve.csv")
    if not args.keep:
        files = adopt(policy, code=code)
        committed = f"it is the policy now: git add {' '.join(files)}; git commit -m '{name}'"
        print(committed if files else "it is the answer now: aeb practice")


def _parser(name: str, page: str, minutes: float) -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(description=page.partition("\n")[0])
    add = parser.add_argument
    add("--out", type=Path, default=Path("runs", name), help=f"a new folder (default runs/{name})")
    add("--minutes", type=float, default=minutes, help=f"of training at most (default {minutes:g})")
    add("--seed", type=int, default=0)
    add("--set", action="append", default=[], metavar="NAME=VALUE", help="beside or in place of SETTINGS")
    add("--resume", action="store_true", help="go on where an interrupted run stood")
    add("--keep", action="store_true", help="leave the workspace's policy as it is")
    return parser
