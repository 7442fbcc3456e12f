"""The model gateway over a slow disk: how late its event loop is, and what it adds to each chunk of an answer.

A scripted provider on loopback streams many small chunks to parallel clients, straight and through a gateway whose ledger takes
50 ms for each event, as a disk under load does. The gateway writes once as it does (on threads of its own), and once in its event
loop, as it would without them. Provider and clients are processes of their own; chunks carry the time at which they were sent.

`python benchmarks/gateway_loop.py` takes about a minute.
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import json
import multiprocessing
import random
import tempfile
import time
from collections.abc import Callable
from concurrent.futures import Executor, Future
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any

import aiohttp
import numpy as np
from aiohttp import web

from autoenvbench.gateway.dialect import sse
from autoenvbench.gateway.gateway import Gateway
from autoenvbench.gateway.responses import Responses
from autoenvbench.gateway.upstream import Live
from autoenvbench.record.clock import RunClock
from autoenvbench.record.ledger import Ledger

TICK_S = 0.005  # of the probe that measures how late the loop is
NEW_TEXT = 100_000  # bytes of each request that no earlier one had


class SlowLedger(Ledger):
    """A ledger whose appends take `sync_s` longer [s]; the interpreter is free meanwhile, as during an fsync."""

    sync_s = 0.05

    def append(self, *args: Any, **more: Any) -> int:
        time.sleep(self.sync_s)
        return super().append(*args, **more)


class InTheLoop(Executor):
    """Runs what it is given at once, where it is given: in the event loop."""

    def submit(self, fn: Callable[..., Any], /, *args: Any, **kwargs: Any) -> Future[Any]:
        done: Future[Any] = Future()
        done.set_result(fn(*args, **kwargs))
        return done


# -- the provider ------------------------------------------------------------------------------------------------------
def serve(ready: Connection, chunks: int, every_s: float) -> None:
    """Answer every request with `chunks` small events, one each `every_s`, and the usage at the end; until killed."""

    async def answer(request: web.Request) -> web.StreamResponse:
        await request.read()
        response = web.StreamResponse(headers={"Content-Type": "text/event-stream"})
        await response.prepare(request)
        due = time.monotonic()
        for _ in range(chunks):
            due += every_s
            await asyncio.sleep(max(0.0, due - time.monotonic()))
            await response.write(sse({"type": "response.output_text.delta", "delta": "word", "sent": time.monotonic()}))
        usage = {"input_tokens": 1000, "output_tokens": chunks}
        await response.write(sse({"type": "response.completed", "response": {"model": "m", "usage": usage}}))
        return response

    async def main() -> None:
        app = web.Application(client_max_size=1 << 26)
        app.router.add_post(Responses.path, answer)
        runner = web.AppRunner(app)
        await runner.setup()
        site = web.TCPSite(runner, "127.0.0.1", 0)
        await site.start()
        ready.send(site._server.sockets[0].getsockname()[1])  # type: ignore[union-attr]
        await asyncio.Event().wait()

    with contextlib.suppress(KeyboardInterrupt):
        asyncio.run(main())


# -- the clients -------------------------------------------------------------------------------------------------------
def ask(found: Connection, address: str, socket: str | None, clients: int, calls: int) -> None:
    """`clients` in parallel make `calls` each; sends seconds from each chunk's departure to its arrival."""

    async def client(number: int, late: list[float]) -> None:
        rng = random.Random(number)
        await asyncio.sleep(rng.random())  # so that calls begin and end while others stream
        connector = aiohttp.UnixConnector(socket) if socket else None
        async with aiohttp.ClientSession(connector=connector) as session:
            for _ in range(calls):
                text = "".join(rng.choices("abcdefghijklmnopqrstuvwxyz ", k=NEW_TEXT))
                body = {"model": "m", "stream": True, "input": [{"role": "user", "content": text}]}
                async with session.post(address + Responses.path, json=body) as response:
                    assert response.status == 200, await response.text()
                    async for line in response.content:
                        if line.startswith(b"data:") and (sent := json.loads(line[5:]).get("sent")):
                            late.append(time.monotonic() - sent)

    async def main() -> list[float]:
        late: list[float] = []
        await asyncio.gather(*(client(number, late) for number in range(clients)))
        return late

    found.send(asyncio.run(main()))


async def measure(address: str, socket: str | None, clients: int, calls: int) -> list[float]:
    ours, theirs = multiprocessing.Pipe()
    process = multiprocessing.get_context("spawn").Process(target=ask, args=(theirs, address, socket, clients, calls))
    process.start()
    late: list[float] = await asyncio.to_thread(ours.recv)
    process.join()
    return late


# -- the gateway between them ------------------------------------------------------------------------------------------
async def through_gateway(
    provider: str, in_the_loop: bool, clients: int, calls: int
) -> tuple[list[float], list[float], int]:
    """(lateness of the gateway's loop [s], latency of each chunk [s], events in the ledger)."""
    ticks: list[float] = []

    async def probe() -> None:
        while True:
            due = time.monotonic() + TICK_S
            await asyncio.sleep(TICK_S)
            ticks.append(time.monotonic() - due)

    with tempfile.TemporaryDirectory(prefix="aeb-") as folder:
        ledger = SlowLedger(Path(folder) / "ledger.sqlite", RunClock.start(3600))
        gateway = Gateway(
            Path(folder) / "g.sock", ledger, Live(provider, "key"), "bench", transcript=Path(folder) / "t.gz"
        )
        if in_the_loop:
            gateway._recorder._event_thread = gateway._recorder._line_thread = InTheLoop()  # type: ignore[assignment]
        await gateway.start()
        probing = asyncio.create_task(probe())
        late = await measure("http://gateway", str(gateway.socket), clients, calls)
        probing.cancel()
        await gateway.close()
        events = sum(1 for _ in ledger.events("call", "tokens"))
        ledger.close()
    return ticks, late, events


def row(name: str, ticks: list[float] | None, late: list[float], straight: list[float]) -> str:
    def quantiles(seconds: Any) -> str:
        return " / ".join(f"{1000 * value:.1f}" for value in seconds)

    points = (50, 99, 100)
    loop = quantiles(np.percentile(ticks, points)) if ticks else "-"
    added = np.percentile(late, points) - np.percentile(straight, points)
    return f"| {name} | {loop} | {quantiles(np.percentile(late, points))} | {quantiles(added)} |"


async def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--clients", type=int, default=16)
    parser.add_argument("--calls", type=int, default=3, help="of each client, one after the other")
    parser.add_argument("--chunks", type=int, default=100, help="of each answer")
    parser.add_argument("--every", type=float, default=0.02, help="seconds between an answer's chunks")
    args = parser.parse_args()
    ours, theirs = multiprocessing.Pipe()
    server = multiprocessing.get_context("spawn").Process(
        target=serve, args=(theirs, args.chunks, args.every), daemon=True
    )
    server.start()
    provider = f"http://127.0.0.1:{ours.recv()}"
    try:
        print(f"{args.clients} clients x {args.calls} calls x {args.chunks} chunks; milliseconds, p50 / p99 / max\n")
        print("| | event loop late by | a chunk takes | of which the gateway adds |\n| --- | --- | --- | --- |")
        straight = await measure(provider, None, args.clients, args.calls)
        print(row("straight from the provider", None, straight, straight), flush=True)
        for name, in_the_loop in (("written in the event loop", True), ("written on threads", False)):
            ticks, late, events = await through_gateway(provider, in_the_loop, args.clients, args.calls)
            assert events == 2 * args.clients * args.calls, f"{events} events of {args.clients * args.calls} calls"
            print(row(name, ticks, late, straight), flush=True)
    finally:
        server.terminate()
        server.join()


if __name__ == "__main__":
    asyncio.run(main())
