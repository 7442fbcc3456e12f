"""What the harness itself writes and reads in places that an agent could prepare."""

import os
import time

import pytest

from autoenvbench.agents.base import Launch, json_lines
from autoenvbench.agents.process import AgentProcess
from autoenvbench.agents.registry import AGENTS, make_agent
from autoenvbench.cli.progress import RunProgress
from autoenvbench.record.clock import RunClock
from autoenvbench.record.ledger import Ledger
from autoenvbench.record.run_config import RunConfig
from autoenvbench.research.model_access import cross_check
from autoenvbench.research.slots import make_slots
from autoenvbench.sandbox.limits import Limits


@pytest.fixture
def folder(tmp_path):
    for name in ("agent/workspace/data", "agent/home", "data"):
        (tmp_path / name).mkdir(parents=True)
    return tmp_path


def prepare(folder):
    launch = Launch(["true"], home_files={".codex/config.toml": "new"})
    return AgentProcess(
        launch, folder / "agent", folder / "data", "bwrap", "open", folder / "s.sock", "token", None, Limits.default()
    )


@pytest.mark.parametrize(
    "trap", ["link", "link to nothing", "parent link", "pipe", "folder", "file for a folder", "hard link"]
)
def test_nothing_that_an_agent_left_in_its_home_is_followed(folder, trap):
    """Between two launches the harness writes the home's files anew, as the user, outside the cage."""
    home, victim = folder / "agent/home", folder / "victim"
    victim.mkdir()
    (victim / "config.toml").write_text("precious")
    if trap == "parent link":
        (home / ".codex").symlink_to(victim)
    elif trap == "file for a folder":
        (home / ".codex").write_text("x")
    else:
        (home / ".codex").mkdir()
        target = home / ".codex/config.toml"
        if trap == "link":
            target.symlink_to(victim / "config.toml")
        elif trap == "link to nothing":
            target.symlink_to(victim / "created")
        elif trap == "pipe":
            os.mkfifo(target)
        elif trap == "hard link":
            os.link(victim / "config.toml", target)
        else:
            target.mkdir()
            (target / "x").write_text("x")
    prepare(folder)
    assert (home / ".codex/config.toml").read_text() == "new"
    assert not (home / ".codex/config.toml").is_symlink()
    assert (victim / "config.toml").read_text() == "precious"
    assert sorted(p.name for p in victim.iterdir()) == ["config.toml"]


def test_session_files_that_are_none_are_passed_over(tmp_path):
    (tmp_path / "a.jsonl").write_text('{"n": 1}\nnonsense\n[2]\n{"n": ')
    os.mkfifo(tmp_path / "b.jsonl")  # would wait forever
    (tmp_path / "c.jsonl").symlink_to("/etc/passwd")
    with (tmp_path / "d.jsonl").open("wb") as file:
        file.truncate(1 << 40)
    assert list(json_lines(sorted(tmp_path.glob("*.jsonl")))) == [{"n": 1}]


HOSTILE_ROWS = [
    '{"type": "token_usage_record"}', '{"type": "token_usage_record", "payload": 7}', '{"payload": {"type": "token_usage_record", "response_id": {}}}',
    '{"type": "assistant", "message": {"id": [], "usage": {}}}', '{"type": "assistant", "message": {"id": 1, "usage": {"input_tokens": "many"}}}',
    '{"type": "usage.record", "usage": 5}', '{"type": "usage.record", "usage": {"inputOther": []}}', "[" * 100_000,
]  # fmt: skip


@pytest.mark.parametrize("agent", ["codex", "claude-code", "kimi-code"])
@pytest.mark.parametrize("row", HOSTILE_ROWS)
def test_usage_that_cannot_be_read_ends_no_run(tmp_path, ledger, agent, row):
    """What an agent writes into its own session files may spoil the cross-check, not the scoring."""
    (slot,) = make_slots(tmp_path, {"member-1": agent})
    for name in (
        ".codex/sessions/2026/x.jsonl",
        ".claude/projects/w/x.jsonl",
        ".kimi-code/sessions/w/session_1/agents/main/wire.jsonl",
    ):
        file = slot.home / name
        file.parent.mkdir(parents=True)
        file.write_text(row + "\n")
    (slot.home / ".kimi-code/sessions/w/session_2").symlink_to("/nowhere")
    difference = cross_check(slot, ledger)
    assert difference is None or "count of tokens" in difference
    slot.kind.stored_session(slot.home)


@pytest.mark.parametrize("event", [{"type": "thread.started"}, {"type": "system"}, {"type": "session.resume_hint"}, {}])
def test_events_that_lack_what_they_promise_are_passed_over(event):
    assert [make_agent(name).session(event) for name in AGENTS] == [None] * len(AGENTS)


def test_what_an_agent_says_is_text_and_not_markup(tmp_path, capsys):
    config = RunConfig(agent="codex", env="ENPIRE/PushT-v0", budget_s=60)
    Ledger(tmp_path / "ledger.sqlite", RunClock.start(60)).close()
    progress = RunProgress()
    progress.on_start(tmp_path, RunClock.start(60), config)
    progress.on_agent_event("codex-1", {"text": "[/tmp] and [red] and [link=x]"})
    progress.log("ended: [/no such tag]")
    progress.refresh()
    said = capsys.readouterr()
    assert "[/no such tag]" in said.out + said.err
    assert "[/tmp] and [red] and [link=x]" in said.out + said.err


@pytest.mark.parametrize(
    ("stderr", "stdout", "words"),
    [
        ("Reading additional input from stdin...\n", '{"type": "turn.started"}\n', ""),
        ("Reading additional input from stdin...\nerror: the disk is full\n", "", "error: the disk is full"),
        ("", "not json\n{}\n", "not json"),
        ("warming up\nerror: provider.auth_error: 401 revoked\nSee log: /x\n", "", "error: provider.auth_error: 401 revoked See log: /x"),
        ("Traceback (most recent call last):\n  File\nlitellm.AuthenticationError: this key\nwas revoked\n", "", "litellm.AuthenticationError: this key was revoked"),
        ("cannot start '/nope' in the cage: No such file or directory\n", "", "cannot start '/nope' in the cage: No such file or directory"),
    ],
)  # fmt: skip
def test_the_last_words_are_what_went_wrong(folder, stderr, stdout, words):
    launch = Launch(["true"])
    process = AgentProcess(
        launch, folder / "agent", folder / "data", "bwrap", "open", folder / "s.sock", "t", None, Limits.default()
    )
    (folder / "agent/stderr.log").write_text(stderr)
    (folder / "agent/events.jsonl").write_text(stdout)
    assert process.last_line() == words
    assert process.last_words("the provider said no").startswith("the provider said no (more in ")


@pytest.mark.parametrize(
    ("agent", "event", "error"),
    [
        ("codex", {"type": "turn.failed", "error": {"message": "unexpected status 401"}}, "unexpected status 401"),
        ("codex", {"type": "error", "message": "stream disconnected"}, "stream disconnected"),
        ("codex", {"type": "item.completed", "item": {"type": "error", "message": "Model metadata not found"}}, None),
        ("codex", {"type": "turn.failed", "error": 3}, None),
        ("claude-code", {"type": "result", "subtype": "success", "is_error": True, "result": "API Error: 401"}, "API Error: 401"),
        ("claude-code", {"type": "result", "subtype": "success", "is_error": False, "result": "done"}, None),
        ("kimi-code", {"role": "assistant", "content": "x"}, None),
    ],
)  # fmt: skip
def test_an_agents_own_errors_are_read(agent, event, error):
    assert make_agent(agent).error(event) == error


@pytest.mark.parametrize(
    "line", [b"[" * 200_000, b"{" * (40 << 20), b'{"type": "x"}\n' * 200_000], ids=["deep", "long", "many"]
)
def test_what_an_agent_prints_neither_ends_nor_holds_the_run(folder, line):
    process = prepare(folder)
    path = folder / "agent/events.jsonl"
    path.write_bytes(line)
    began = time.monotonic()
    assert len(list(process.new_events())) <= 1000
    with path.open("ab") as file:
        file.write(b'\n{"type": "y"}\n')
    assert any(event == {"type": "y"} for _ in range(210) for event in process.new_events())
    assert time.monotonic() - began < 10


def test_an_unfinished_line_is_read_once_it_is_whole(folder):
    process = prepare(folder)
    path = folder / "agent/events.jsonl"
    path.write_bytes(b'{"type": ')
    assert list(process.new_events()) == []
    path.write_bytes(b'{"type": "x"}\n')
    assert list(process.new_events()) == [{"type": "x"}]
