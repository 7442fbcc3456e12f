"""The real CLIs against a provider that fails: runs end with the right answer, tokens and reason, or before they begin."""

import json
import os
import signal
import socket
import subprocess
import sys
import time

import pytest
from faulty_provider import FaultyProvider

from autoenvbench.agents.registry import make_agent
from autoenvbench.errors import RUN_VOID
from autoenvbench.record import metrics
from autoenvbench.record.ledger import Ledger

AGENTS = ("codex", "claude-code", "kimi-code", "mini")
RATE_LIMIT = {
    "status": 429,
    "headers": {"retry-after": "1"},
    "error": {"type": "rate_limit_error", "message": "slow down"},
}
BROKEN = {"status": 500, "error": {"type": "api_error", "message": "it broke"}}
STEPS = [
    {"shell": "aeb status", "usage": {"input": 4000, "output": 60}, "faults": [RATE_LIMIT, BROKEN]},
    {
        "shell": "printf 'from parametric import ParametricPolicy as Policy\\n' > policy.py && git commit -qam 'Use the parametric pusher'",
        "usage": {"input": 9000, "cached_input": 3900, "output": 150}, "faults": [{"cut": 0.4}],
    },
    {"shell": "aeb submit", "usage": {"input": 13000, "cached_input": 12000, "output": 40}, "faults": [{"dead": 4}, {"refuse": True}]},
    {"text": "Submitted.", "usage": {"input": 13500, "cached_input": 13000, "output": 30}},
]  # fmt: skip
HEADLINE = sum(s["usage"]["input"] - s["usage"].get("cached_input", 0) + s["usage"]["output"] for s in STEPS)


def installed(name):
    if make_agent(name).command() is None:
        pytest.skip(f"{name} is not installed: {make_agent(name).install}")


def start(tmp_path, agent, url, *more, budget="100s"):
    model = ["--model", "openai/anything"] if agent == "mini" else []
    return subprocess.Popen(
        [sys.executable, "-m", "autoenvbench", "eval", "--agent", agent, "--base-url", url, *model, "--budget", budget,
         "--held-out", "1", "--nudges", "0", "--starter", "parametric", "--out", str(tmp_path / "runs"), *more],
        stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
    )  # fmt: skip


def finish(process, tmp_path):
    _, err = process.communicate(timeout=280)
    runs = list((tmp_path / "runs").iterdir()) if (tmp_path / "runs").exists() else []
    return process.returncode, err, (runs[0] if runs else None)


@pytest.mark.cage
@pytest.mark.parametrize("agent", AGENTS)
def test_a_run_goes_through_its_providers_failures(tmp_path, agent):
    """Rate limit, error, cut stream, silence, a closed connection: one after the other, in the middle of the work."""
    installed(agent)
    steps = (
        [*STEPS[:3], {**STEPS[3], "shell": "echo COMPLETE_TASK_AND_SUBMIT_FINAL_OUTPUT"}] if agent == "mini" else STEPS
    )
    with FaultyProvider(steps) as provider:
        code, err, run = finish(start(tmp_path, agent, provider.url), tmp_path)
    assert code == 0, err
    result = json.loads((run / "result.json").read_text())
    events = list(Ledger(run / "ledger.sqlite").events())
    assert result["answer"]["how"] == "submitted"
    assert result["stopped_by"] in ("agent_ended", "gave_up")
    assert result["tokens"]["headline"] == HEADLINE
    assert result["research_s"] - result["working_s"] > 1
    assert "waiting for the model's provider (HTTP 429: slow down)" in err
    waits = [e.payload for e in events if e.kind == "wait"]
    assert [w.status for w in waits if w.phase == "started"][:2] == [429, 500]
    assert sum(w.phase == "ended" for w in waits) >= 1
    page = (run / "report.html").read_text()
    assert "Waiting for the model" in page
    assert "HTTP 429: slow down" in page
    assert "own count of tokens differs" not in err
    cut = [e.payload for e in events if e.kind == "tokens" and e.payload.in_flight]
    # what was cut before its first event, or is not streamed, was asked for again by the gateway; the rest by the CLI
    assert len(cut) == (1 if agent in ("codex", "claude-code") else 0)


@pytest.mark.cage
def test_an_agent_that_gives_up_on_cut_answers_is_sent_back_to_work(tmp_path):
    """Codex ends after the sixth cut. That is no nudge: with none granted, the run goes on all the same."""
    installed("codex")
    steps = [{**STEPS[0], "faults": [{"cut": 0.5}] * 6}, {**STEPS[2], "faults": []}, STEPS[3]]
    with FaultyProvider(steps) as provider:
        code, err, run = finish(start(tmp_path, "codex", provider.url), tmp_path)
    assert code == RUN_VOID, err
    result = json.loads((run / "result.json").read_text())
    assert result["void_because"] == ["6 of its 9 model calls failed"]
    assert result["answer"]["how"] == "submitted"
    notes = [e.payload.text for e in Ledger(run / "ledger.sqlite").events("note")]
    assert any("sent back to work" in note for note in notes)


@pytest.mark.cage
def test_a_key_that_is_revoked_ends_the_run_with_the_providers_words(tmp_path):
    installed("codex")
    revoked = {"status": 401, "error": {"type": "invalid_request_error", "message": "this key was revoked"}}
    steps = [{**STEPS[0], "faults": []}, {**STEPS[1], "faults": [revoked] * 100}]
    with FaultyProvider(steps) as provider:
        code, err, run = finish(start(tmp_path, "codex", provider.url), tmp_path)
    assert code == RUN_VOID, err
    assert json.loads((run / "result.json").read_text())["stopped_by"] == "provider_error"
    assert "this key was revoked" in err
    said = next(line for line in err.splitlines() if "ended with exit code" in line)
    assert "this key was revoked" in said  # and not "Reading additional input from stdin..."


@pytest.mark.cage
def test_an_agent_that_asks_for_nonsense_does_not_void_its_run(tmp_path):
    installed("codex")
    nonsense = {"status": 400, "error": {"type": "invalid_request_error", "message": "max_tokens must be above 0"}}
    steps = [{**STEPS[0], "faults": []}, {**STEPS[2], "faults": []}, {**STEPS[3], "faults": [nonsense] * 100}]
    with FaultyProvider(steps) as provider:
        code, err, run = finish(start(tmp_path, "codex", provider.url), tmp_path)
    assert code == 0, err
    result = json.loads((run / "result.json").read_text())
    assert result["stopped_by"] != "provider_error"
    assert result["void_because"] == []


# -- before the clock ----------------------------------------------------------------------------------------------------------
def closed_port():
    with socket.socket() as s:
        s.bind(("127.0.0.1", 0))
        return s.getsockname()[1]


@pytest.mark.cage
@pytest.mark.parametrize(
    ("error", "words"),
    [
        ({"status": 401, "error": {"type": "authentication_error", "message": "invalid x-api-key"}}, "invalid x-api-key"),
        ({"status": 404, "error": {"type": "not_found_error", "message": "model: claude-9 is unknown"}}, "claude-9 is unknown"),
        ({"status": 429, "error": {"type": "insufficient_quota", "message": "check your billing"}}, "check your billing"),
    ],
)  # fmt: skip
def test_a_wrong_key_or_model_ends_before_anything_is_made(tmp_path, error, words):
    installed("claude-code")
    with FaultyProvider([], first=[error] * 9) as provider:
        code, err, run = finish(start(tmp_path, "claude-code", provider.url), tmp_path)
    assert (code, run) == (2, None)
    assert words in err
    assert "Traceback" not in err


@pytest.mark.cage
@pytest.mark.parametrize(
    ("url", "words"), [("notaurl", "is not an address"), ("http://127.0.0.1:{port}/v1", "cannot reach the provider")]
)
def test_an_address_where_nobody_answers_ends_before_anything_is_made(tmp_path, url, words):
    installed("codex")
    code, err, run = finish(start(tmp_path, "codex", url.format(port=closed_port())), tmp_path)
    assert (code, run) == (2, None)
    assert words in err


@pytest.mark.cage
def test_a_program_that_is_not_there_ends_before_its_run_is_kept(tmp_path):
    agent = "command:/nope --flag"
    process = subprocess.Popen(
        [sys.executable, "-m", "autoenvbench", "eval", "--agent", agent, "--budget", "60s", "--held-out", "1",
         "--out", str(tmp_path / "runs")], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
    )  # fmt: skip
    code, err, run = finish(process, tmp_path)
    assert (code, run) == (2, None), err
    assert f"cannot start '{agent.split()[0].partition(':')[2]}' in the cage: No such file or directory" in err


# -- kill -9 -------------------------------------------------------------------------------------------------------------------
@pytest.mark.cage
def test_kill_9_hides_no_call(tmp_path):
    """Killed in the middle of a call, and resumed: the call is counted, and the clock has not gone back over it."""
    installed("codex")
    steps = [{**STEPS[0], "faults": []}, {**STEPS[2], "faults": [{"dead": 60}]}, STEPS[3]]
    with FaultyProvider(steps) as provider:
        process = start(tmp_path, "codex", provider.url)
        while len(provider.served) < 3:  # the first call, before the clock, is one of them
            assert process.poll() is None
            time.sleep(0.05)
        time.sleep(2.5)
        os.kill(process.pid, signal.SIGKILL)
        process.communicate(timeout=60)
        (run,) = (tmp_path / "runs").iterdir()
        begun = list(Ledger(run / "ledger.sqlite").events("call"))
        done = subprocess.run([sys.executable, "-m", "autoenvbench", "resume", str(run)], capture_output=True, text=True,
                              timeout=200)  # fmt: skip
    assert done.returncode == 0, done.stderr
    events = list(Ledger(run / "ledger.sqlite").events())
    killed = next(e for e in events if e.kind == "tokens" and e.payload.error == "the run was killed during this call")
    assert killed.payload.call == begun[-1].payload.id
    assert killed.payload.input > 5000
    assert killed.payload.cached_input > 0.8 * killed.payload.input  # most of it was sent one call before
    resumed = next(e for e in events if e.kind == "run" and e.payload.phase == "resumed")
    assert resumed.t_run >= begun[-1].t_run
    result = json.loads((run / "result.json").read_text())
    assert result["tokens"]["in_flight_calls"] == 1
    assert result["tokens"]["cut_headline"] == metrics.headline_tokens(killed.payload)
    assert result["answer"]["how"] == "submitted"
