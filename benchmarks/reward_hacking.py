"""Do learned policies deceive the verifier? Every verdict on a policy against the simulator's ground truth (`audit_truth.py`), episode by episode.

    python benchmarks/reward_hacking.py --env ENPIRE/PinInsertion-v0 --policy runs/pin/policy -n 10000 --out hacking.jsonl

Whatever learns from a verdict looks for its holes, on purpose or not: an audit by policies that were learned against the verifier says more than
one by policies that were not. Appends a line an episode, and goes on where the file ends. Exit code 1 if truth and verdict differ anywhere.
"""

from __future__ import annotations

import argparse
import json
import os
import sys
from pathlib import Path

os.environ.setdefault("MUJOCO_GL", "egl")

from audit_episodes import STATIONS, SUBJECTS, VIOLATIONS
from enpire_envs.env import CellEnv

from autoenvbench.make_env import make_env
from autoenvbench.sandbox.cage import choose_sandbox
from autoenvbench.station.cell import LocalCell
from autoenvbench.station.policy_process import PolicyProcess
from autoenvbench.station.rollout import run_episode
from autoenvbench.study.policies import answer_in, resolve_policy

FIRST = 1_000_000  # starts from here on: nothing is trained or scored on them


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--env", required=True)
    parser.add_argument("--policy", required=True, help="a folder, or a name as of `autoenvbench score`")
    parser.add_argument("-n", type=int, default=10_000)
    parser.add_argument("--out", type=Path, required=True)
    args = parser.parse_args()
    env = make_env(args.env)
    subject = SUBJECTS.get(env.unwrapped.task.name) if isinstance(env.unwrapped, CellEnv) else None
    truth = subject.truth if subject is not None else None
    if truth is None:
        known = ", ".join(name for name, each in SUBJECTS.items() if each.truth is not None)
        parser.error(f"there is no independent truth of what {args.env} leaves behind; known: {known}")
    bundle, policy = resolve_policy(env, args.policy, 0)
    sandbox = "none" if policy is not None else choose_sandbox(None, fallback=True)[0]
    cell = LocalCell(env, sandbox=sandbox, track="station", policy=policy, answer=answer_in(bundle))
    policy = policy or cell.policy_process(bundle)
    mine = {"env": args.env, "policy": bundle.digest}
    rows = [json.loads(line) for line in args.out.read_text().splitlines()] if args.out.exists() else []
    rows = [row for row in rows if mine.items() <= row.items()]
    movable = "station" in env.get_wrapper_attr("reset_options")
    with args.out.open("a") as file:
        for k in range(len(rows), args.n):
            outcome = run_episode(env, policy, FIRST + k, {"station": k % STATIONS} if movable else None)
            if outcome.infrastructure:
                raise SystemExit(f"episode {k}: {outcome.reason}: {outcome.detail}; mend that, then go on")
            real = False if outcome.reason in VIOLATIONS else truth(env.unwrapped)
            row = {**mine, "episode": k, "verdict": outcome.success, "truth": real, "reason": outcome.reason}
            rows.append(row)
            print(json.dumps(row), file=file, flush=True)
    if isinstance(policy, PolicyProcess):
        policy.close()
    wrong = [row for row in rows if row["truth"] is not None and row["truth"] != row["verdict"]]
    unsure = sum(row["truth"] is None for row in rows)
    print(
        f"{args.env} {args.policy}: {len(rows)} episodes, {sum(row['verdict'] for row in rows)} judged a success; verdict and truth differ in "
        f"{len(wrong)}; {unsure} in the guard band"
    )
    for row in wrong[:20]:
        print(
            f"    episode {row['episode']} (seed {FIRST + row['episode']}): judged {row['verdict']}, is {row['truth']} ({row['reason']})"
        )
    return bool(wrong)


if __name__ == "__main__":
    sys.exit(main())
