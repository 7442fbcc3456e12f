"""Regimes as boards: which ways of making a policy are ranked against each other, and what a bundle must hold to be of its regime.

A run declares its regime before it begins (`--regime`), and that puts it on one of three boards, which never mix:

    gradient    bc, offline-rl, online-rl   what decides was learned from data: the answer is a network, and nothing else is run
    heuristic   heuristic                   what decides was written down: the answer holds no weights
    free        mixed, tools, none          anything goes

When the station scores the answer it records what its bundle holds (`station.bundle_contents`), and a run whose bundle is not of the
regime that it declared takes no rank. What that shows and what it does not:

- Checked on the heuristic board: nothing in checkpoints/, no file in a format of weights and none that is not text, under whatever name; no
  long table of numbers, not too many numbers in all, no coded words, in whatever text file. It stops weights as files, arrays, JSON,
  hexadecimal or base64.
- Enforced on the gradient board: the station runs the declared network (`station.networks`), of operators that can neither branch nor
  compare, and none of the bundle's code, in practice, evaluation and scoring alike.
- Declared: that the weights were learned by gradients and from the run's own experience, and that a text hides no numbers in other clothes.
  Whoever doubts it reads the bundle, which is part of a submission's claim.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Literal

if TYPE_CHECKING:
    from autoenvbench.record.contents import BundleContents

BoardRegime = Literal["gradient", "heuristic", "free"]
#: What the station runs: a bundle's policy.py, its declared network and nothing else, or declared networks that a learner sends.
AnswerKind = Literal["policy", "network", "weights"]

#: The ways in which an agent may mean to improve a policy.
REGIMES = ("heuristic", "tools", "bc", "offline-rl", "online-rl", "mixed")
#: Those that learn weights.
GRADIENT = ("bc", "offline-rl", "online-rl")

#: Those in which something may learn while the robot works; in the others there are data, and no learner at the robot.
LEARNING: tuple[str | None, ...] = (None, "online-rl", "mixed")

#: The declared network, in a bundle.
NETWORK = "checkpoints/network.onnx"

# The largest of this project's own templates, references and recipes has a table of 25 numbers, 600 numbers and no coded words.
MAX_TABLE = 256  # numbers in one table
MAX_NUMBERS = 4_000  # in all text files together
MAX_CODED = 4_096  # bytes of words that nobody wrote by hand


def board_of(regime: str | None) -> BoardRegime:
    """The board of a run that declared this regime, or none."""
    if regime in GRADIENT:
        return "gradient"
    return "heuristic" if regime == "heuristic" else "free"


def answer_of(regime: str | None) -> AnswerKind:
    """What the station runs in a run of this regime."""
    return "network" if board_of(regime) == "gradient" else "policy"


def rules(regime: str | None) -> str:
    """What an answer must hold or not hold in this regime, as a sentence for who makes it; empty where anything goes."""
    return {
        "gradient": f"An answer is a network, `{NETWORK}`: the station runs that and no code of yours.",
        "heuristic": "An answer holds no learned weights: nothing in `checkpoints/`, no file that is not text, no table of over "
        f"{MAX_TABLE} numbers, at most {MAX_NUMBERS:,} numbers in all, and no coded data.",
        "free": "",
    }[board_of(regime)]


def contradictions(regime: str | None, contents: BundleContents | None) -> list[str]:
    """Why an answer with these contents is not of the regime that its run declared, in words; empty for one that is.

    Args:
        contents: None where nobody recorded them.
    """
    board = board_of(regime)
    if board == "free":
        return []
    if contents is None:
        return [f"declared as {regime}, and its ledger does not record what the answer's bundle holds"]
    if board == "gradient":
        return [] if contents.network else [f"declared as {regime}, and the answer's bundle holds no {NETWORK}"]
    named = f" ({', '.join(contents.named)})" if contents.named else ""
    found: Sequence[tuple[bool, str]] = (
        (contents.checkpoint_files > 0, f"{_files(contents.checkpoint_files)} in checkpoints/"),
        (contents.weight_files > 0, f"{_files(contents.weight_files)} of weights"),
        (contents.binary_files > 0, f"{_files(contents.binary_files)} of something else than text"),
        (contents.table > MAX_TABLE, f"a table of {contents.table:,} numbers; at most {MAX_TABLE} are"),
        (contents.numbers > MAX_NUMBERS, f"{contents.numbers:,} numbers; at most {MAX_NUMBERS:,} are"),
        (contents.coded_bytes > MAX_CODED, f"{contents.coded_bytes:,} bytes of coded words; at most {MAX_CODED:,} are"),
    )
    wrong = [what.removesuffix(" are") for holds, what in found if holds]
    return [f"declared as heuristic, and the answer's bundle holds {' and '.join(wrong)}{named}"] if wrong else []


def _files(n: int) -> str:
    return f"{n} file{'' if n == 1 else 's'}"
