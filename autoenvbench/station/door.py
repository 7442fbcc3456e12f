"""The station's door: HTTP on a Unix socket, a bearer token per client, one JSON line per event of a long job.

It alone hands out ids, start indices and seeds, and writes the station's events into the ledger. There is no environment in this
process and no policy beside it: those are the cell workers', its children.

Run as ``python -m autoenvbench.station.door`` with a StationConfig as JSON on standard input, whose closing ends it.
"""

from __future__ import annotations

import asyncio
import contextlib
import functools
import gc
import hmac
import json
import os
import sys
import threading
import traceback
from collections import Counter
from collections.abc import Awaitable, Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Any, TypeVar

from aiohttp import web

from autoenvbench.errors import RobotBusy, StationFault, UserError
from autoenvbench.record.clock import RunClock
from autoenvbench.record.events import EpisodeEvent, NoteEvent
from autoenvbench.record.ledger import Ledger
from autoenvbench.station.client import StationClient
from autoenvbench.station.config import ADMIN, StationConfig
from autoenvbench.station.fleet import Fleet
from autoenvbench.station.hub_routes import HubRoutes, body_of
from autoenvbench.station.jobs import Caller
from autoenvbench.station.learning import Learning
from autoenvbench.station.leases import busy_with
from autoenvbench.station.practice import Practice, whole
from autoenvbench.station.questions import Question
from autoenvbench.station.remote_cell import FOLD_S
from autoenvbench.station.station import Station
from autoenvbench.station.uploads import Uploads

MAX_REQUESTS = 32  # under way at once, of one member: who floods the door waits behind itself alone
MAX_JOBS = 200  # threads: for each of 64 members a job and what is left of its confirmations
END_S = 3.0  # that a halted job may take to end before its cells are closed
SWITCH_S = 0.001  # that a thread which computes may keep the others waiting, several times in an answer
T = TypeVar("T")
Handler = Callable[[web.Request], Awaitable[web.StreamResponse]]


class Door:
    """Routes to a `Station`. A client has one job at a time, on a thread of its own; the run's own wait for one another."""

    def __init__(self, station: Station, tokens: dict[str, str]) -> None:
        self._station, self._tokens = station, tokens
        self._jobs = ThreadPoolExecutor(MAX_JOBS, thread_name_prefix="job")
        self._own_jobs = ThreadPoolExecutor(1, thread_name_prefix="own job")
        self._working: Counter[str] = Counter()  # by client: jobs that are under way or wait
        self._quick = ThreadPoolExecutor(2, thread_name_prefix="quick")
        # Nobody's status waits for who writes, or reads thousands of episodes.
        self._standing = ThreadPoolExecutor(1, thread_name_prefix="status")
        self._reading = ThreadPoolExecutor(1, thread_name_prefix="episodes")
        self._stops = ThreadPoolExecutor(2, thread_name_prefix="stop")
        self._asking: Counter[str | None] = Counter()  # by client: requests under way

    def app(self) -> web.Application:
        """The routes of the HTTP interface."""
        app = web.Application(middlewares=[self._guard], client_max_size=1 << 20)
        app.add_routes([
            web.get("/health", self._health),
            web.get("/status", self._status),
            web.get("/episodes", self._episodes),
            web.get("/frames/{camera}", self._frame),
            web.post("/{where:home|avoid|resume}", self._move),
            web.post("/stop", self._stop),
            web.post("/acknowledge", self._acknowledge),
            web.post("/ideas", self._idea),
            web.post("/notes", self._note),
            web.post("/ask", self._ask),
            web.post("/practice", self._practice),
            web.post("/learn", self._learn),
            web.post("/learn/end", self._end_learning),
            web.post("/evaluate", self._evaluate),
            web.post("/compare", self._compare),
            web.post("/halt", self._halt),
            web.post("/held-out", self._held_out),
            web.post("/pause", self._pause),
            web.post("/members", self._member),
        ])  # fmt: skip
        for others in (Uploads(self._station, self._call), HubRoutes(self._station, self._call)):
            app.add_routes(others.routes())
        return app

    @web.middleware
    async def _guard(self, request: web.Request, handler: Handler) -> web.StreamResponse:
        if request.path != "/health":
            given = request.headers.get("Authorization", "").removeprefix("Bearer ").encode()
            names = [name for token, name in self._tokens.items() if hmac.compare_digest(token.encode(), given)]
            if not names:
                return _failure(UserError("this station does not know you: no valid bearer token"), 401)
            request["client"] = names[0]
            request["token"] = given.decode()
            if request.path in ("/halt", "/held-out", "/pause", "/acknowledge", "/members") and names[0] != ADMIN:
                return _failure(UserError(f"{request.path} is not for agents"), 403)
        client = request.get("client")
        if client not in (None, ADMIN) and request.path != "/stop" and self._asking[client] >= MAX_REQUESTS:
            return _failure(
                UserError(f"{client} has {MAX_REQUESTS} requests under way; wait for one of them to end"), 429
            )
        self._asking[client] += 1
        try:
            return await handler(request)
        except UserError as error:
            return _failure(error)
        except web.HTTPException as error:
            return _failure(UserError(f"{request.method} {request.path}: {error.reason}"), error.status)
        except Exception as error:
            traceback.print_exc()
            return _failure(StationFault.of(error), 500)
        finally:
            self._asking[client] -= 1

    # -- quick ones --------------------------------------------------------------------------------------------------
    async def _health(self, request: web.Request) -> web.Response:
        return web.json_response({"ok": True, "env": self._station.config.config.env, "busy": self._station.jobs.busy})

    async def _status(self, request: web.Request) -> web.Response:
        told = asyncio.get_running_loop().run_in_executor(self._standing, self._status_of, request["client"])
        return web.json_response(text=await told)

    def _status_of(self, client: str) -> str:
        return json.dumps(self._station.status(client))

    async def _episodes(self, request: web.Request) -> web.Response:
        try:
            limit = int(request.query.get("limit", 50))
        except ValueError:
            raise UserError("limit must be a whole number") from None
        rows = functools.partial(
            self._station.episodes, request["client"], request.query.get("evaluation"), max(1, min(limit, 5000))
        )
        told = asyncio.get_running_loop().run_in_executor(self._reading, lambda: json.dumps(rows()))
        return web.json_response(text=await told)

    async def _frame(self, request: web.Request) -> web.Response:
        png = await self._brief_job(request, self._station.frame, request.match_info["camera"])
        return web.Response(body=png, content_type="image/png")

    async def _move(self, request: web.Request) -> web.Response:
        return web.json_response(await self._brief_job(request, self._station.move, request.match_info["where"]))

    async def _stop(self, request: web.Request) -> web.Response:
        """Passed on to where the arms are. (Their own socket is quicker where much is under way: `client.stop_socket`.)"""
        sockets = self._station.fleet.stop_sockets(request["client"])
        if not sockets:
            raise UserError("every cell on which you work is lost: what arms it had stop by themselves")
        cells = StationClient("", request["token"], sockets)
        stopped = await asyncio.get_running_loop().run_in_executor(self._stops, cells.stop)
        return web.json_response(stopped)

    async def _acknowledge(self, request: web.Request) -> web.Response:
        return web.json_response(await self._call(self._station.acknowledge, request["client"]))

    async def _idea(self, request: web.Request) -> web.Response:
        body = await body_of(request)
        idea = await self._call(
            self._station.ideas.register, request["client"], str(body.get("title", "")), body.get("parent"),
            body.get("inspired_by") or [], body.get("regime"),
        )  # fmt: skip
        return web.json_response(idea)

    async def _note(self, request: web.Request) -> web.Response:
        body = await body_of(request)
        await self._call(self._station.ideas.note, request["client"], str(body.get("text", "")))
        return web.json_response({"ok": True})

    async def _halt(self, request: web.Request) -> web.Response:
        self._station.jobs.halt()
        return web.json_response({"ok": True})

    async def _pause(self, request: web.Request) -> web.Response:
        """{"paused": true, "stopped_at": research time}, and later {"paused": false, "epoch": of the run's clock without the pause}."""
        body = await body_of(request)
        self._station.jobs.pause(bool(body.get("paused")), epoch=body.get("epoch"), stopped_at=body.get("stopped_at"))
        if not body.get("paused"):  # research goes on, and so does what was cut when it was last ended
            await asyncio.to_thread(self._station.judging.finish_confirmations, self._jobs.submit)
        return web.json_response({"ok": True})

    async def _member(self, request: web.Request) -> web.Response:
        """{"member": its name, "token": its bearer token}: a client that comes later."""
        body = await body_of(request)
        member, token = str(body.get("member", "")), str(body.get("token", ""))
        if not member or member in self._tokens.values() or len(token) < 32:
            raise UserError("a new member has a name of its own, and a token of at least 32 characters")
        if self._station.config.config.own_stations:
            raise UserError(
                "nobody joins a run whose members have robots of their own (--own-stations): all are given out"
            )
        self._tokens[token] = member
        return web.json_response({"member": member})

    # -- long ones ---------------------------------------------------------------------------------------------------
    async def _practice(self, request: web.Request) -> web.StreamResponse:
        body = await body_of(request)
        asked = Practice.of(body)
        return await self._stream(request, self._station.trying.practice, str(body.get("digest")), asked)

    async def _ask(self, request: web.Request) -> web.StreamResponse:
        asked = Question.of(await body_of(request))
        return await self._stream(request, self._station.questions.ask, asked)

    async def _learn(self, request: web.Request) -> web.StreamResponse:
        body = await body_of(request)
        asked = Learning.of(body)
        return await self._stream(request, self._station.trying.learn, str(body.get("digest")), asked)

    async def _end_learning(self, request: web.Request) -> web.Response:
        why = str((await body_of(request)).get("why", "the learner ended it"))
        return web.json_response(await self._call(self._station.trying.end_learning, request["client"], why))

    async def _evaluate(self, request: web.Request) -> web.StreamResponse:
        body = await body_of(request)
        if given := {"seed", "start"} & body.keys():
            raise UserError(
                f"an evaluation draws its starts itself, in secret; leave out {' and '.join(sorted(given))}"
            )
        confirm = body["confirm"] if isinstance(body.get("confirm"), bool) else None
        return await self._stream(
            request,
            self._station.judging.evaluate,
            str(body.get("digest")),
            whole(body, "n", 20),
            body.get("idea"),
            confirm,
        )

    async def _compare(self, request: web.Request) -> web.StreamResponse:
        digest = str((await body_of(request)).get("digest"))
        return await self._stream(request, self._station.judging.compare, digest)

    async def _held_out(self, request: web.Request) -> web.StreamResponse:
        digest = str((await body_of(request)).get("digest"))
        return await self._stream(request, self._station.judging.held_out, digest, waits=True)

    async def _stream(
        self, request: web.Request, job: Callable[..., dict[str, Any]], *args: Any, waits: bool = False
    ) -> web.StreamResponse:
        """Run a job on a thread; send whom it waits for and each episode as a line, then the result or the error as the last line.

        A client that goes away ends its job, whose cells are free again within a step, or leaves the line.

        Args:
            waits: for the client's other jobs; it is refused otherwise where there is one.
        """
        if not waits:
            self._require_no_job(request["client"])
        loop = asyncio.get_running_loop()
        lines: asyncio.Queue[dict[str, Any] | None] = asyncio.Queue()
        gone = threading.Event()

        def put(line: dict[str, Any] | None) -> None:
            loop.call_soon_threadsafe(lines.put_nowait, line)

        def on_episode(event: EpisodeEvent) -> None:
            put(
                {
                    "episode": event.model_dump(
                        include={
                            "evaluation",
                            "index",
                            "purpose",
                            "success",
                            "score",
                            "stage",
                            "reason",
                            "steps",
                            "robot_s",
                            "weights",
                        }
                    )
                }
            )

        caller = Caller(request["client"], gone.is_set, on_episode, lambda jobs: put({"waiting": jobs}))

        def work() -> dict[str, Any]:
            try:
                return {"result": job(caller, *args)}
            except BaseException as error:
                told = error if isinstance(error, UserError) else StationFault.of(error)
                if isinstance(told, StationFault):
                    traceback.print_exc()
                    with contextlib.suppress(Exception):  # what fails may be the ledger's disk
                        self._station.ledger.append(NoteEvent(text=str(told)), agent=request["client"])
                return {"error": str(told), "exit_code": told.exit_code}
            finally:
                put(None)

        future = self._on_job_thread(request["client"], work)
        response = web.StreamResponse(headers={"Content-Type": "application/x-ndjson"})
        try:
            await response.prepare(request)
            while (line := await lines.get()) is not None:
                await response.write(json.dumps(line).encode() + b"\n")
            last = await asyncio.shield(future)  # whoever reads how it ended may ask for the next at once
            await response.write(json.dumps(last).encode() + b"\n")
            await response.write_eof()
        finally:
            gone.set()
            await asyncio.shield(future)
        return response

    async def _brief_job(self, request: web.Request, function: Callable[..., T], *args: Any) -> T:
        """A job that has a result and nothing to tell before."""
        self._require_no_job(request["client"])
        gone = threading.Event()
        caller = Caller(request["client"], gone.is_set)
        future = self._on_job_thread(request["client"], functools.partial(function, caller, *args))
        try:
            return await asyncio.shield(future)
        finally:
            gone.set()

    def _require_no_job(self, client: str) -> None:
        if self._working[client]:
            raise RobotBusy(busy_with("it is under way, or waits for a robot; `aeb status` says which"))

    def _on_job_thread(self, client: str, function: Callable[[], T]) -> asyncio.Future[T]:
        """Run one of a client's jobs, which counts until it has ended, whoever hangs up."""
        self._working[client] += 1
        threads = self._own_jobs if client == ADMIN else self._jobs
        future = asyncio.get_running_loop().run_in_executor(threads, function)
        future.add_done_callback(lambda _: self._working.subtract([client]))
        return future

    async def close(self) -> None:
        """End the cells, which fold their arms; the job under way must have been halted. One that does not end is not waited for."""
        await self._ends_within(END_S)
        await asyncio.to_thread(self._station.fleet.close)
        await self._ends_within(END_S)  # what lost its cell by this is judged as it stands

    async def _ends_within(self, seconds: float) -> bool:
        for _ in range(round(seconds / 0.05)):
            if not self._station.jobs.busy:
                return True
            await asyncio.sleep(0.05)
        return False

    async def _call(self, function: Callable[..., Any], *args: Any) -> Any:
        return await asyncio.get_running_loop().run_in_executor(self._quick, function, *args)


def _failure(error: UserError, status: int = 400) -> web.Response:
    return web.json_response({"error": str(error), "exit_code": error.exit_code}, status=status)


async def _serve(config: StationConfig) -> None:
    closed = asyncio.Event()
    loop = asyncio.get_running_loop()
    clock = RunClock(config.clock_epoch, config.config.budget_s, config.clock_stopped_at)
    ledger = Ledger(config.run_dir / "ledger.sqlite", clock)
    exit_code = 0

    def on_lost(why: str) -> None:
        nonlocal exit_code
        exit_code = 1
        words = f"{why}; the station ends. Go on with: autoenvbench resume {config.run_dir}"
        print(words, file=sys.stderr, flush=True)
        with contextlib.suppress(Exception):
            ledger.append(NoteEvent(text=words), station=config.name)
        loop.call_soon_threadsafe(closed.set)

    fleet = Fleet(config, ledger, on_lost)
    try:
        fleet.open()
    except UserError as error:
        raise SystemExit(str(error)) from None
    station = Station(config, ledger, fleet)
    gc.collect()
    gc.freeze()  # what a long run's ledger came to is not searched for garbage again and again, while all threads stand still
    door = Door(station, config.tokens)
    # A lost client must be noticed while a job runs: aiohttp then cancels the handler.
    runner = web.AppRunner(door.app(), handler_cancellation=True, access_log=None, shutdown_timeout=1.0)
    await runner.setup()
    config.socket.unlink(missing_ok=True)
    await web.UnixSite(runner, str(config.socket)).start()
    os.chmod(config.socket, 0o600)

    def watch_parent() -> None:
        sys.stdin.read()  # returns when the run's end of the pipe closes, however it died
        loop.call_soon_threadsafe(closed.set)

    threading.Thread(target=watch_parent, daemon=True).start()
    await closed.wait()
    # Nobody is left who would end this process if something in it hung: it ends itself, and its cells end without it.
    end = threading.Timer(FOLD_S + 3 * END_S, os._exit, (1,))
    end.daemon = True
    end.start()
    station.jobs.halt()
    await door.close()  # the arms first, then whoever is still connected
    with contextlib.suppress(TimeoutError):
        await asyncio.wait_for(runner.cleanup(), END_S)
    os._exit(exit_code)  # executors must not delay the end


def main() -> None:
    """Serve until standard input closes; its first line is the StationConfig."""
    sys.setswitchinterval(SWITCH_S)
    config = StationConfig.model_validate_json(sys.stdin.readline())
    asyncio.run(_serve(config))


if __name__ == "__main__":
    main()
