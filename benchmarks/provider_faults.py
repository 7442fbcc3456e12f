"""The real CLIs against a provider that fails, in full length: rate limits, errors in a row, cut answers, a dead minute, and
silence longer than the time-outs that Claude Code and Kimi Code have by themselves (300 s).

Each scenario is one run of one agent, live, against a scripted server on loopback. It passes if the run ends with the submitted
answer, with the script's own count of tokens, and without giving up. Results are kept in --state, and what is there is not run
again: an interrupted command goes on. `python benchmarks/provider_faults.py --state faults.json` takes about
50 minutes; an exit code of 6 says that the run rightly counts as void, having waited for most of its time.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).parents[1] / "tests/gateway"))

from faulty_provider import FaultyProvider

from autoenvbench.agents.registry import make_agent

AGENTS = ("codex", "claude-code", "kimi-code", "mini")
LIMIT = {"status": 429, "headers": {"retry-after": "5"}, "error": {"type": "rate_limit_error", "message": "slow down"}}
BROKEN = {"status": 500, "error": {"type": "api_error", "message": "it broke"}}
OVERLOADED = {"status": 529, "error": {"type": "overloaded_error", "message": "busy"}}
#: Faults at the first step of the work, by scenario; and how much research time the run is given [s].
SCENARIOS: dict[str, tuple[list[dict[str, Any]], int]] = {
    "rate limited for 60 s": ([{**LIMIT, "headers": {"retry-after": "60"}}], 150),
    "six rate limits, 30 s": ([LIMIT] * 6, 120),
    "five errors 500, backed off": ([BROKEN] * 5, 180),
    "overloaded four times": ([OVERLOADED] * 4, 150),
    "cut in the middle, twice": ([{"cut": 0.6}] * 2, 120),
    "closed before the first byte, twice": ([{"refuse": True}] * 2, 120),
    "a dead minute": ([{"dead": 60}], 150),
    "a minute's silence in the middle": ([{"stalled": 60}], 150),
    "dead for 330 s": ([{"dead": 330}], 420),
}
STEPS: list[dict[str, Any]] = [
    {"shell": "aeb status", "usage": {"input": 4000, "output": 60}},
    {"shell": "aeb submit", "usage": {"input": 13000, "cached_input": 12000, "output": 40}},
    {"text": "Submitted.", "usage": {"input": 13500, "cached_input": 13000, "output": 30}},
]
HEADLINE = sum(s["usage"]["input"] - s["usage"].get("cached_input", 0) + s["usage"]["output"] for s in STEPS)


def run(agent: str, faults: list[dict[str, Any]], budget: int) -> dict[str, Any]:
    """One run; what became of it."""
    steps = [{**STEPS[0], "faults": faults}, *STEPS[1:]]
    more: list[str] = []
    if agent == "mini":
        steps[2] = {**STEPS[2], "shell": "echo COMPLETE_TASK_AND_SUBMIT_FINAL_OUTPUT"}
        more = ["--model", "openai/anything"]
    began = time.monotonic()
    with tempfile.TemporaryDirectory(prefix="faults-") as out, FaultyProvider(steps) as provider:
        done = subprocess.run(
            [sys.executable, "-m", "autoenvbench", "eval", "--agent", agent, "--base-url", provider.url, *more, "--budget", f"{budget}s",
             "--nudges", "0", "--held-out", "1", "--out", out], capture_output=True, text=True,
        )  # fmt: skip
        found: dict[str, Any] = {"exit_code": done.returncode, "wall_s": round(time.monotonic() - began, 1)}
        for path in Path(out).glob("*/result.json"):
            result = json.loads(path.read_text())
            found |= {
                "answer": result["answer"]["how"], "tokens": result["tokens"]["headline"], "stopped_by": result["stopped_by"],
                "waited_s": round(result["research_s"] - result["working_s"], 1), "requests": len(provider.served),
            }  # fmt: skip
    found["passed"] = (found.get("answer"), found.get("tokens"), found.get("stopped_by") in ("agent_ended", "gave_up")) == (
        "submitted", HEADLINE, True,
    )  # fmt: skip
    return found


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--state", type=Path, default=Path("provider_faults.json"), help="results so far")
    parser.add_argument("--agents", nargs="*", default=AGENTS)
    parser.add_argument("--only", help="scenarios whose name contains this")
    args = parser.parse_args()
    state: dict[str, Any] = json.loads(args.state.read_text()) if args.state.exists() else {}
    for agent in args.agents:
        if problem := make_agent(agent).problem():
            print(f"{agent}: {problem}")
            continue
        for name, (faults, budget) in SCENARIOS.items():
            key = f"{agent}: {name}"
            if key in state or (args.only and args.only not in name):
                continue
            state[key] = run(agent, faults, budget)
            args.state.write_text(json.dumps(state, indent=1))
            print(f"{key:<55} {'ok' if state[key]['passed'] else 'FAILED'}  {state[key]}", flush=True)
    passed = sum(row["passed"] for row in state.values())
    print(f"{passed} of {len(state)} runs ended with the right answer, tokens and reason")
    return 0 if passed == len(state) else 1


if __name__ == "__main__":
    sys.exit(main())
