"""Writes into autoenvbench/data/data_sets.json what each named data set is here: the fingerprint of its environment, and its hash.

    python scripts/publish_data_sets.py --out sets            # all sets, which are kept there
    python scripts/publish_data_sets.py --out sets pin-mixed-v0

For whoever adds a set, or changes an environment whose sets nobody has used yet; a set that results rest on gets a new name instead.
"""

from __future__ import annotations

import argparse
import json
from dataclasses import replace
from pathlib import Path

from enpire_envs.fingerprint import fingerprint

import autoenvbench
from autoenvbench.make_env import make_env
from autoenvbench.study.data_sets import find_set, published, record_set

FILE = Path(autoenvbench.__file__).parent / "data" / "data_sets.json"


def publish(name: str, out: Path) -> None:
    """Make the set in `out`, and write down what it is."""
    recipe = find_set(name)
    env = make_env(recipe.env)
    now = fingerprint(env)
    env.close()
    made = record_set(replace(recipe, fingerprint=now), out / name)
    recipes = json.loads(FILE.read_text())
    recipes[name] |= {"fingerprint": now, "sha256": made["sha256"]}
    FILE.write_text(json.dumps(recipes, indent=1) + "\n")
    solved = ", ".join(
        f"{part['by']} {part['noise']:g}: {part['successes']}/{part['episodes']}" for part in made["parts"]
    )
    print(
        f"{name}: {made['episodes']} episodes, {made['steps']} steps, {made['successes']} solved ({solved})", flush=True
    )


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("names", nargs="*", default=list(published()), metavar="NAME")
    parser.add_argument("--out", type=Path, required=True)
    args = parser.parse_args()
    args.out.mkdir(parents=True, exist_ok=True)
    for each in args.names:
        publish(each, args.out)
