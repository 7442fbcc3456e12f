"""The real CLIs in their cage against a scripted model: what they do, what is counted, and that nothing of them is left."""

import asyncio
import gzip
import json
import os
import shlex
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path

import pytest
from aiohttp import web

from autoenvbench.agents.mini import Mini
from autoenvbench.agents.registry import AGENTS, make_agent
from autoenvbench.errors import RUN_VOID
from autoenvbench.evolution.tree import IdeaTree
from autoenvbench.gateway.chat import Chat
from autoenvbench.gateway.dialect import Step
from autoenvbench.publish.leaderboard import check_run
from autoenvbench.record import metrics
from autoenvbench.record.events import NOT_AGENTS
from autoenvbench.record.ledger import Ledger
from autoenvbench.record.results import Result

pytestmark = [pytest.mark.cage]
CLIS = ("codex", "claude-code", "kimi-code")
MODELS = {"codex": "gpt-5.4", "kimi-code": "kimi-k2.6-code"}  # beside others' own defaults
STEPS = [
    {"shell": "aeb status && ls", "usage": {"input": 4000, "output": 60, "reasoning": 5}},
    {
        "shell": "aeb idea 'Adopt the parametric pusher' --regime heuristic && printf 'from parametric import ParametricPolicy as Policy\\n' > policy.py "
        "&& git commit -qam 'Use the parametric pusher' && aeb evaluate -n 3",
        "usage": {"input": 9000, "cached_input": 3900, "output": 150},
    },
    {"shell": "aeb submit", "usage": {"input": 13000, "cached_input": 12000, "output": 40}},
    {"text": "Submitted.", "usage": {"input": 13500, "cached_input": 13000, "output": 30}},
]


def installed(name):
    if make_agent(name).command() is None:
        pytest.skip(f"{name} is not installed: {make_agent(name).install}")


def evaluate(tmp_path, agent, steps, *more, budget="100s", held_out=2, within_s=280):
    script = tmp_path / "script.json"
    script.write_text(json.dumps({"steps": steps}))
    process = subprocess.Popen(
        [sys.executable, "-m", "autoenvbench", "eval", "--agent", agent, "--replay", str(script), "--budget", budget,
         "--held-out", str(held_out), "--starter", "parametric", "--out", str(tmp_path / "runs"), *more],
        stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
    )  # fmt: skip
    out, err = process.communicate(timeout=within_s)
    assert process.returncode == 0, err
    (run,) = (tmp_path / "runs").iterdir()
    return run, out + err


def tokens_of(run):
    calls = [e.payload for e in Ledger(run / "ledger.sqlite").events("tokens") if e.agent not in NOT_AGENTS]
    return calls, {key: sum(getattr(c, key) for c in calls) for key in ("input", "cached_input", "output")}


def alive_in(run):
    """Processes anywhere on this machine that have the run's folder open as their working folder."""
    found = []
    for entry in Path("/proc").iterdir():
        if entry.name.isdigit():
            try:
                if str(run) in os.readlink(entry / "cwd"):
                    found.append(entry.name)
            except OSError:
                continue
    return found


#: What each member of a team does, all by one script; the adopter takes its peer's idea over as well.
ADOPTER, PEER = "claude-code-1", "codex-1"
ONLY_ADOPTER = f"[ $(git config user.name) != {ADOPTER} ] || "
UNTIL_DONE = "while aeb evaluate -n 2; [ $? -eq 4 ]; do sleep 0.5; done"
IDEA_OF_PEER = (
    'aeb peers --json | python3 -c \'import json, sys; print(next((r["newest_idea"]["id"] for r in json.load(sys.stdin) '
    f'if r["agent"] == "{PEER}" and r["newest_idea"]), "I999"))\''
)
TEAM_STEPS = [
    STEPS[0],
    {
        "shell": "aeb idea 'Adopt the parametric pusher' --regime heuristic && me=$(git config user.name) && "
        "printf '# %s\nfrom parametric import ParametricPolicy as Policy\n' $me > policy.py && git commit -qam 'Use the parametric pusher' && "
        + UNTIL_DONE,
        "usage": {"input": 9000, "cached_input": 3900, "output": 150},
    },
    {
        "shell": f"{ONLY_ADOPTER}for k in $(seq 100); do aeb adopt $({IDEA_OF_PEER}) --theirs && break; sleep 0.5; done",
        "usage": {"input": 11000, "cached_input": 9000, "output": 40},
    },
    {
        "shell": f"{ONLY_ADOPTER}{{ aeb idea 'What my peer does, and more' && {UNTIL_DONE}; }}",
        "usage": {"input": 12000, "cached_input": 11000, "output": 40},
    },
    STEPS[2],
    STEPS[3],
]


@pytest.mark.timeout(900)
def test_a_team_of_real_clis_counted_to_the_token(tmp_path):
    """Each through idea, commit, evaluation and submission, two fruitless nudges, and into one result; one adopts another's idea."""
    names = [name for name in CLIS if make_agent(name).command() is not None]
    if not names:
        pytest.skip(f"none is installed of {', '.join(CLIS)}: {make_agent('codex').install}")
    team = ",".join(f"{name}*2" if name == "codex" else name for name in names)
    models = {name: model for name, model in MODELS.items() if name in names}
    asked = ",".join(f"{name}={model}" for name, model in models.items())
    short = ("--env-arg", "max_episode_steps=20", "--nudges", "2", *(("--model", asked) if asked else ()))
    run, said = evaluate(tmp_path, team, TEAM_STEPS, *short, budget="600s", within_s=800)
    result = Result.model_validate_json((run / "result.json").read_text())
    assert check_run(run)[0] == result
    assert result.answer.how == "submitted"
    assert result.agent.version
    assert "own count of tokens differs" not in said  # each CLI's own count agrees
    assert result.stopped_by == "gave_up"
    events = list(Ledger(run / "ledger.sqlite").events())
    last = TEAM_STEPS[-1]["usage"]
    for member in result.members:
        calls = [e.payload for e in events if e.kind == "tokens" and e.agent == member.id]
        nudges = len(calls) - len(TEAM_STEPS)
        assert nudges == 2
        for key in ("input", "cached_input", "output"):
            expected = sum(step["usage"].get(key, 0) for step in TEAM_STEPS) + nudges * last.get(key, 0)
            assert sum(getattr(c, key) for c in calls) == expected
        assert (member.tokens, member.calls) == (sum(map(metrics.headline_tokens, calls)), len(calls))
        ended = [
            e.payload for e in events if e.kind == "agent" and e.agent == member.id and e.payload.phase == "exited"
        ]
        assert [e.reason for e in ended] == ["agent_ended"] * 3
        assert len({e.session for e in ended}) == 1  # each nudge went on with the same session
        assert ended[0].session
        with gzip.open(run / "agents" / member.id / "transcript.jsonl.gz", "rt") as file:
            kept = [json.loads(line) for line in file]
        assert len(kept) == len(calls)
        assert not any(
            "authorization" in key.lower() or "api-key" in key.lower() for line in kept for key in line["headers"]
        )
        assert member.submitted
        model = models.get(member.agent, make_agent(member.agent).default_model)  # each kind's own
        assert (member.model, {call.model for call in calls}) == (model, {model})
    assert [m.ideas for m in result.members] == [2 if m.id == ADOPTER else 1 for m in result.members]
    if {"codex", "claude-code"} <= set(names):
        tree = IdeaTree.of(events)
        author = {idea.id: idea.agent for idea in tree.ideas.values()}
        assert (PEER, ADOPTER, "merge") in {(author[e.source], author[e.target], e.how) for e in tree.edges}
    assert alive_in(run) == []


@pytest.mark.parametrize("agent", CLIS)
def test_killed_in_the_middle_of_a_call(tmp_path, agent):
    """The deadline falls into a model call while a tool's children, which left their session, still write."""
    installed(agent)
    steps = [
        {"shell": "(setsid sh -c 'while :; do date > beat; sleep 0.1; done' > /dev/null 2>&1 &); sleep 0.3; ls",
         "usage": {"input": 4000, "output": 60}},
        {"text": "never said", "delay": 60, "usage": {"input": 9000, "output": 10}},
    ]  # fmt: skip
    run, _ = evaluate(tmp_path, agent, steps, budget="14s")
    calls, _ = tokens_of(run)
    assert [c.in_flight for c in calls] == [False, True]
    assert calls[0].input == 4000
    assert calls[1].input > 1000  # estimated from the request's size
    events = list(Ledger(run / "ledger.sqlite").events("run", "agent"))
    stopped = next(e.t_run for e in events if e.kind == "run" and e.payload.phase == "agents_stopped")
    assert 14 <= stopped < 14 + 15
    beat = run / "agents" / f"{agent}-1" / "workspace" / "beat"
    assert beat.exists()
    written = beat.stat().st_mtime
    stop_wall = next(e.t_wall for e in events if e.kind == "run" and e.payload.phase == "agents_stopped")
    assert written <= stop_wall  # no write after the agent was said to be stopped
    assert alive_in(run) == []


def test_a_token_budget_ends_the_run(tmp_path):
    installed("codex")
    steps = [{"shell": "sleep 0.2", "usage": {"input": 600, "cached_input": 100, "output": 100}}] * 30
    run, _ = evaluate(tmp_path, "codex", steps, "--token-budget", "2k")
    calls, _ = tokens_of(run)
    spent = sum(metrics.headline_tokens(c) for c in calls)
    assert 2000 <= spent <= 2600  # the call that went over, and at most one more
    stopped = [
        e.payload.detail for e in Ledger(run / "ledger.sqlite").events("run") if e.payload.phase == "agents_stopped"
    ]
    assert stopped == ["token_budget"]


class LocalServer:
    """An OpenAI-compatible server such as vLLM's, on loopback, that follows a script."""

    def __init__(self, steps):
        self.steps, self.seen, self.dialect = steps, [], Chat()
        self.ready, self.loop = threading.Event(), asyncio.new_event_loop()
        self.thread = threading.Thread(target=self.serve, daemon=True)

    def __enter__(self):
        self.thread.start()
        assert self.ready.wait(10)
        return self

    def __exit__(self, *exc):
        self.loop.call_soon_threadsafe(self.loop.stop)
        self.thread.join(10)

    def serve(self):
        async def start():
            app = web.Application(client_max_size=1 << 26)
            app.router.add_post("/v1/chat/completions", self.answer)
            self.runner = web.AppRunner(app)
            await self.runner.setup()
            site = web.TCPSite(self.runner, "127.0.0.1", 0)
            await site.start()
            self.url = f"http://127.0.0.1:{site._server.sockets[0].getsockname()[1]}/v1"
            self.ready.set()

        self.loop.run_until_complete(start())
        self.loop.run_forever()
        self.loop.run_until_complete(self.runner.cleanup())

    async def answer(self, request):
        body = await request.json()
        number = self.dialect.tool_results(body)
        self.seen.append((body["model"], request.headers.get("Authorization")))
        step = Step.resolve(self.steps[min(number, len(self.steps) - 1)], self.dialect.tools(body))
        return web.Response(body=b"".join(self.dialect.reply(body, step, str(number))), content_type="application/json")


def test_mini_works_with_a_local_server_and_no_key(tmp_path):
    installed("mini")
    done = {"shell": "echo COMPLETE_TASK_AND_SUBMIT_FINAL_OUTPUT", "usage": {"input": 1, "output": 1}}
    with LocalServer([*STEPS[:3], done]) as server:
        process = subprocess.run(
            [sys.executable, "-m", "autoenvbench", "eval", "--agent", "mini", "--model", "openai/anything",
             "--base-url", server.url, "--budget", "90s", "--held-out", "2", "--starter", "parametric", "--out", str(tmp_path / "runs")],
            capture_output=True, text=True, timeout=250,
        )  # fmt: skip
    assert process.returncode == 0, process.stderr
    (run,) = (tmp_path / "runs").iterdir()
    assert json.loads((run / "result.json").read_text())["answer"]["how"] == "submitted"
    _, totals = tokens_of(run)
    assert totals == {"input": 26001, "cached_input": 15900, "output": 251}
    assert {model for model, _ in server.seen} == {"anything"}
    assert all(key == "Bearer none" for _, key in server.seen)


def test_pause_stops_time_and_processes(tmp_path):
    """A run of a plain program: paused for four seconds, it beats neither heart nor clock."""
    program = "import time\nwhile True:\n    open('beat', 'w').write(str(time.time()))\n    time.sleep(0.05)\n"
    agent = shlex.join([sys.executable, "-c", program])
    process = subprocess.Popen(
        [sys.executable, "-m", "autoenvbench", "eval", "--agent", f"command:{agent}", "--budget", "12s",
         "--held-out", "2", "--out", str(tmp_path / "runs")], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
    )  # fmt: skip
    try:
        beat = None
        for _ in range(300):
            beat = (
                next((tmp_path / "runs").glob("*/agents/command-1/workspace/beat"), None)
                if (tmp_path / "runs").exists()
                else None
            )
            if beat:
                break
            time.sleep(0.1)
        assert beat
        run = beat.parents[3]
        cli = [sys.executable, "-m", "autoenvbench"]
        assert subprocess.run([*cli, "pause", str(run)], timeout=60).returncode == 0
        time.sleep(0.3)
        before = beat.read_text()
        time.sleep(4)
        assert beat.read_text() == before
        assert subprocess.run([*cli, "resume", str(run)], timeout=60).returncode == 0
        deadline = time.monotonic() + 60
        while beat.read_text() == before:
            assert time.monotonic() < deadline
            time.sleep(0.1)
        _, err = process.communicate(timeout=120)
        assert process.returncode == RUN_VOID, err  # it was paused rightly, and did no research
    finally:
        if process.poll() is None:
            process.send_signal(signal.SIGINT)
            process.communicate(timeout=60)
    check_run(run)  # the clock stood still, and did not go back
    events = list(Ledger(run / "ledger.sqlite").events("run"))
    at = {e.payload.phase: e for e in events}
    assert at["unpaused"].t_wall - at["paused"].t_wall > 4
    assert at["unpaused"].t_run - at["paused"].t_run < 1
    assert at["deadline"].t_run == pytest.approx(12, abs=1.5)


def test_the_replay_agent_needs_no_model_and_no_cli(tmp_path):
    script = tmp_path / "steps.json"
    steps = [
        {"shell": "false"},
        {"text": "passed over"},
        {"shell": "aeb idea 'The starter, as it is' && aeb evaluate -n 2 && aeb submit"},
    ]
    script.write_text(json.dumps({"steps": steps}))
    done = subprocess.run(
        [sys.executable, "-m", "autoenvbench", "eval", "--agent", f"replay:{script}", "--env", "ENPIRE/CutZipTie-v0",
         "--budget", "60s", "--held-out", "2", "--out", str(tmp_path / "runs")], capture_output=True, text=True, timeout=200,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    (run,) = (tmp_path / "runs").iterdir()
    result = json.loads((run / "result.json").read_text())
    assert (result["answer"]["how"], result["agent"]["name"], result["stopped_by"]) == (
        "submitted",
        "replay",
        "agent_ended",
    )
    assert result["tokens"]["calls"] == 0


def test_every_agent_says_whether_it_can_run(monkeypatch):
    for name in AGENTS:
        agent = make_agent(name)
        problem = agent.problem()
        assert problem is None or "type:" in problem or "npm" in problem


def test_a_tombstone_that_answers_version_is_found_out(tmp_path, monkeypatch):
    fake = tmp_path / "mini"
    fake.write_text("#!/bin/sh\necho 'no longer maintained'\n")
    fake.chmod(0o755)
    monkeypatch.setenv("AUTOENVBENCH_MINI", str(fake))
    assert "does not know --exit-immediately" in (Mini().problem() or "")
