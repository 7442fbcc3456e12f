"""How late the event loop that serves models is during a busy run: a task in it sleeps 5 ms over and over, and notes by how much
it woke too late. A process that does nothing else sleeps beside it, and shows what is the machine's doing.

The run is the real Codex CLI against a scripted model that asks for commits and evaluations one after the other while a
hundred processes live in its cage. `python benchmarks/serving_delay.py --budget 60` prints the median, 99th percentile and
maximum of both in milliseconds.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import multiprocessing
import tempfile
import time
from pathlib import Path
from typing import Any

import numpy as np

from autoenvbench.gateway.gateway import Gateway
from autoenvbench.record.run_config import RunConfig
from autoenvbench.research.run import research

PERIOD_S = 0.005
CROWD = "for k in $(seq 100); do (setsid sleep 1000 &) ; done > /dev/null 2>&1; aeb status"
WORK = (
    "aeb idea 'Try the pusher again' --regime heuristic && printf 'from parametric import ParametricPolicy as Policy\\n' > policy.py "
    "&& git commit -qam 'Use the pusher' --allow-empty && aeb evaluate -n 2"
)
TALK = (
    "head -c 200000 /dev/urandom | base64 | head -c 100000"  # its output goes back to the model with each later request
)


def idle(stop: Any, results: Any) -> None:
    """The control: the same sleeps in a process of its own."""
    late = []
    while not stop.is_set():
        began = time.perf_counter()
        time.sleep(PERIOD_S)
        late.append(time.perf_counter() - began - PERIOD_S)
    results.put(late)


def show(name: str, late: list[float]) -> None:
    """A line of figures."""
    median, p99, most = 1e3 * np.array([*np.percentile(late, [50, 99]), max(late)])
    print(f"{name}: late by {median:.2f} ms (median), {p99:.1f} ms (p99), {most:.1f} ms (max) of {len(late)}")


def main() -> None:
    """Print the figures of one run."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--budget", type=float, default=60.0, metavar="S", help="of the run (default 60)")
    args = parser.parse_args()
    late: list[float] = []

    async def watch() -> None:
        while True:
            began = time.perf_counter()
            await asyncio.sleep(PERIOD_S)
            late.append(time.perf_counter() - began - PERIOD_S)

    context = multiprocessing.get_context("spawn")
    stop, results = context.Event(), context.Queue()
    beside = context.Process(target=idle, args=(stop, results))
    start, close, watches = Gateway.start, Gateway.close, dict[Gateway, asyncio.Task[None]]()

    async def start_watched(gateway: Gateway) -> None:
        await start(gateway)
        watches[gateway] = asyncio.create_task(watch())

    async def close_watched(gateway: Gateway) -> None:
        watches.pop(gateway).cancel()
        stop.set()
        await close(gateway)

    Gateway.start, Gateway.close = start_watched, close_watched  # type: ignore[method-assign]
    usage: dict[str, Any] = {"usage": {"input": 4000, "output": 60}}
    steps = [
        {"shell": CROWD, **usage},
        *[{"shell": text, **usage} for _ in range(200) for text in (WORK, TALK, "aeb status")],
    ]
    with tempfile.TemporaryDirectory(prefix="serving-") as out:
        script = Path(out) / "script.json"
        script.write_text(json.dumps({"steps": steps}))
        config = RunConfig(agent="codex", env="ENPIRE/PushT-v0", budget_s=args.budget, held_out=1, replay=str(script),
                           gateway="replay", starter="parametric")  # fmt: skip
        beside.start()
        result = research(config, Path(out) / "runs")
    control = results.get()
    beside.join()
    print(f"{result['tokens']['calls']} model calls")
    show("the loop that serves models", late)
    show("a process that does nothing", control)


if __name__ == "__main__":
    main()
