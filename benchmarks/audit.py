"""Audit of the verifiers: verdicts against an independent ground truth, at every ranked level.

Who acts is in `audit_episodes.py`, and how the truth is found in `audit_truth.py`. Every episode is a line of the file --out: a killed audit goes
on where it was, and one for which a level, or the audit itself, has changed begins again there. Levels take turns, so that a
killed one has as many episodes of each. At the end, and by --report at any time, the file is summed up: precision and recall by level, and every
episode in which verdict and truth disagree, with its seed. Exit code 1 where there is one.
"""

from __future__ import annotations

import argparse
import hashlib
import os
import sys
from collections import Counter, defaultdict
from collections.abc import Iterator
from dataclasses import asdict
from fnmatch import fnmatch
from pathlib import Path

os.environ.setdefault("MUJOCO_GL", "egl")

import audit_episodes
import audit_truth
from audit_episodes import KINDS, audited, make
from audit_rows import Row, append, rows_of
from enpire_envs import ENV_IDS
from enpire_envs.fingerprint import fingerprint, without_words
from enpire_envs.registry import level_of

from autoenvbench.cli.arguments import Parser, episodes, path
from autoenvbench.errors import UserError

ROUND = 4 * len(KINDS)  # episodes of a level before the next one's turn


# -- the file ---------------------------------------------------------------------------------------------------------------
def version() -> str:
    """Of the audit itself: 8 hexadecimal digits of the code that makes and judges its episodes."""
    code = (without_words(Path(module.__file__).read_text()) for module in (audit_episodes, audit_truth))  # type: ignore[arg-type]
    return hashlib.sha256(b"".join(code)).hexdigest()[:8]


def ids(wanted: list[str]) -> list[str]:
    """Ranked ids that fit one of the patterns; plain ids only by name. Raises UserError."""
    found = [
        env_id
        for env_id in ENV_IDS
        if any(fnmatch(env_id, pattern) for pattern in wanted)
        or (not wanted and (level := level_of(env_id)) is not None and level.ranked)
    ]
    if not found:
        raise UserError(f"no environment is called {' or '.join(wanted)}; there are {', '.join(ENV_IDS)}")
    return found


# -- measuring --------------------------------------------------------------------------------------------------------------
def measure(out: Path, wanted: list[str], n: int) -> None:
    """Append what is missing of `n` episodes of each environment."""
    rows = rows_of(out)
    envs = {env_id: make(env_id) for env_id in wanted}
    if without := [env_id for env_id, env in envs.items() if env.unwrapped.task.name not in audit_episodes.SUBJECTS]:  # type: ignore[attr-defined]
        raise UserError(
            f"there is no independent truth of {', '.join(without)}; leave them out: --levels takes patterns such as '*-State-v0'"
        )
    marks = {
        env_id: {"env": env_id, "fingerprint": fingerprint(env), "audit": version()} for env_id, env in envs.items()
    }
    done = {(row["env"], row["fingerprint"], row["audit"], row["seed"]) for row in rows}
    for first in range(0, n, ROUND):
        for env_id, env in envs.items():
            for seed in range(first, min(first + ROUND, n)):
                if (*marks[env_id].values(), seed) not in done:
                    append(out, {**marks[env_id], **asdict(audited(env, seed))})
    for env in envs.values():
        env.close()


# -- summing up -------------------------------------------------------------------------------------------------------------
def report(rows: list[Row]) -> Iterator[str]:
    """A table of every version of every level, then the disagreements."""
    groups: dict[tuple[str, str, str], list[Row]] = defaultdict(list)
    for row in rows:
        groups[row["env"], row["fingerprint"], row["audit"]].append(row)
    yield "| level | fingerprint | audit | episodes | true successes | precision | recall | false successes | missed | in the guard band | CPU |"
    yield "|---|---|---|---|---|---|---|---|---|---|---|"
    for (env_id, mark, audit), group in sorted(groups.items(), key=lambda item: (ENV_IDS.index(item[0][0]), item[0])):
        c = Counter((row["truth"], row["verdict"]) for row in group)
        hits, false, missed = c[True, True], c[False, True], c[True, False]
        cells = [
            env_id.removeprefix("ENPIRE/"), mark, audit, len(group), hits + missed, _share(hits, hits + false), _share(hits, hits + missed),
            false, missed, c[None, True] + c[None, False], f"{sum(row['cpu_s'] for row in group):.0f} s",
        ]  # fmt: skip
        yield "| " + " | ".join(map(str, cells)) + " |"
    for row in rows:
        if not row["agree"]:
            yield f"disagreement: {row['env']} seed {row['seed']} ({row['kind']}): verdict {row['verdict']}, truth {row['truth']}, {row['reason']}"


def _share(part: int, whole: int) -> str:
    return f"{part / whole:.3f}" if whole else "-"


def main() -> int:
    """Measure what is missing and print what the file says."""
    parser = Parser(prog="audit.py", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    add = parser.add_argument
    add("--out", type=path, required=True, help="the JSON-lines file, new or begun")
    add("-n", type=episodes, default=1000, help="episodes per level (default 1000)")
    add("--levels", nargs="*", default=[], metavar="PATTERN", help="ids such as '*Pin*' (default: every ranked one)")
    add("--report", action="store_true", help="measure nothing")
    args = parser.parse_args()
    if not args.report:
        measure(args.out, ids(args.levels), args.n)
    rows = rows_of(args.out)
    print("\n".join(report(rows)))
    return 0 if all(row["agree"] for row in rows) else 1


if __name__ == "__main__":
    try:
        sys.exit(main())
    except UserError as error:
        print(f"audit: {error}", file=sys.stderr)
        sys.exit(2)
