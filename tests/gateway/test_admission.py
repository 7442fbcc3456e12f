"""What an agent may ask of its provider: attacks from the cage on the user's account, and the real CLIs' own requests."""

import asyncio
import json

import aiohttp
import pytest
from faulty_provider import FaultyProvider

from autoenvbench.gateway.admission import Admission, Refused
from autoenvbench.gateway.allowance import Allowance
from autoenvbench.gateway.gateway import DIALECTS, Gateway
from autoenvbench.gateway.upstream import Head, Live
from autoenvbench.record import metrics

BY_NAME = {d.name: d for d in DIALECTS}
OWN = {
    "responses": {"type": "function", "name": "exec_command"},
    "chat": {"type": "function", "function": {"name": "bash"}},
    "messages": {"name": "Bash", "input_schema": {}},
}


def request(dialect, **more):
    talk = {"responses": "input"}.get(dialect, "messages")
    return {"model": "m-1", talk: [{"role": "user", "content": "hello"}], "tools": [OWN[dialect]], **more}


def admit(dialect, body, headers=None, query="", **rules):
    return Admission(frozenset({"m-1"}), **rules).admit(BY_NAME[dialect], body, headers or {}, query)


HOSTED = [
    ("responses", {"type": "web_search"}), ("responses", {"type": "web_search_preview"}), ("responses", {"type": "file_search", "vector_store_ids": ["v"]}),
    ("responses", {"type": "code_interpreter", "container": {"type": "auto"}}), ("responses", {"type": "image_generation"}),
    ("responses", {"type": "mcp", "server_url": "https://evil.invalid", "server_label": "x"}), ("responses", {"type": "computer_use_preview"}),
    ("responses", {"type": "shell", "environment": {"type": "container_auto"}}), ("responses", {"type": "tool_search"}),
    ("responses", {"type": "namespace", "name": "n", "tools": [{"type": "web_search"}]}), ("responses", {"name": "no type"}), ("responses", "web_search"),
    ("chat", {"type": "builtin_function", "function": {"name": "$web_search"}}), ("chat", {"type": "web_search"}), ("chat", {"function": {"name": "x"}}),
    ("messages", {"type": "web_search_20250305", "name": "web_search"}), ("messages", {"type": "code_execution_20250825", "name": "c"}),
    ("messages", {"type": "web_fetch_20250910", "name": "w"}), ("messages", {"type": "mcp_toolset", "mcp_server_name": "x"}),
    ("messages", {"type": "computer_20250124", "name": "c"}), ("messages", {"type": "advisor_20260301", "name": "a"}),
]  # fmt: skip


@pytest.mark.parametrize(("dialect", "tool"), HOSTED)
def test_the_providers_own_tools_are_refused(dialect, tool):
    with pytest.raises(Refused, match="provider-hosted tool"):
        admit(dialect, request(dialect, tools=[OWN[dialect], tool]))
    assert tool in admit(dialect, request(dialect, tools=[OWN[dialect], tool]), hosted_tools=True).body["tools"]


@pytest.mark.parametrize(
    ("dialect", "field"),
    [
        ("responses", {"previous_response_id": "resp_of_another_run"}), ("responses", {"conversation": "conv_1"}), ("responses", {"background": True}),
        ("responses", {"prompt": {"id": "pmpt_1"}}), ("chat", {"web_search_options": {}}), ("chat", {"search_parameters": {"mode": "on"}}),
        ("chat", {"enable_search": True}), ("chat", {"plugins": [{"id": "web"}]}), ("chat", {"models": ["m-1", "dearest"]}),
        ("messages", {"mcp_servers": [{"url": "https://evil.invalid"}]}), ("messages", {"container": "c_1"}),
    ],
)  # fmt: skip
def test_fields_that_reach_beyond_the_conversation_are_refused(dialect, field):
    with pytest.raises(Refused, match=next(iter(field))):
        admit(dialect, request(dialect, **field))


@pytest.mark.parametrize(
    ("dialect", "item"),
    [
        ("responses", {"role": "user", "content": [{"type": "input_image", "image_url": "https://evil.invalid/?secret=1"}]}),
        ("responses", {"role": "user", "content": [{"type": "input_image", "file_id": "file-1"}]}),
        ("responses", {"role": "user", "content": [{"type": "input_file", "file_url": "https://evil.invalid"}]}),
        ("responses", {"type": "item_reference", "id": "msg_of_another_run"}),
        ("responses", {"type": "tool_search_output", "tools": [{"type": "web_search"}]}),  # a tool by the back door
        ("responses", {"type": "tool_search_output", "tools": [{"type": "namespace", "tools": [{"type": "mcp"}]}]}),
        ("chat", {"role": "user", "content": [{"type": "image_url", "image_url": {"url": "http://169.254.169.254/"}}]}),
        ("chat", {"role": "user", "content": [{"type": "video_url", "video_url": {"url": "ms://file"}}]}),
        ("chat", {"role": "user", "content": [{"type": "file", "file": {"file_id": "f"}}]}),
        ("messages", {"role": "user", "content": [{"type": "image", "source": {"type": "url", "url": "https://evil.invalid"}}]}),
        ("messages", {"role": "user", "content": [{"type": "document", "source": {"type": "file", "file_id": "f"}}]}),
        ("messages", {"role": "user", "content": [{"type": "tool_result", "content": [{"type": "image", "source": {"type": "url", "url": "x"}}]}]}),
        ("messages", {"role": "user", "content": [{"type": "container_upload", "file_id": "f"}]}),
    ],
)  # fmt: skip
def test_what_a_provider_would_fetch_or_take_from_its_store_is_refused(dialect, item):
    talk = {"responses": "input"}.get(dialect, "messages")
    with pytest.raises(Refused):
        admit(dialect, request(dialect, **{talk: [item]}))


@pytest.mark.parametrize("model", ["m-2", "", None, ["m-1"], {"m-1": 1}, "M-1", "m-1 "])
def test_only_the_runs_models_are_asked(model):
    with pytest.raises(Refused, match="this run's are m-1"):
        admit("chat", request("chat", model=model))


def test_images_of_the_agents_own_and_any_tool_arguments_pass():
    shown = {"type": "image_url", "image_url": {"url": "data:image/png;base64,AA=="}}
    admit("chat", request("chat", messages=[{"role": "user", "content": [shown]}]))
    used = {"type": "tool_use", "id": "t", "name": "Read", "input": {"file_id": "f", "image_url": "https://x.invalid"}}
    admit("messages", request("messages", messages=[{"role": "assistant", "content": [used]}]))
    schema = {"name": "x", "input_schema": {"properties": {"file_id": {"type": "string"}, "source": {"type": "url"}}}}
    admit("messages", request("messages", tools=[schema]))


def test_headers_fields_and_queries_pass_by_list():
    headers = {
        "Content-Type": "application/json", "OpenAI-Organization": "org-of-the-users", "openai-project": "p", "X-Anything": "1", "Cookie": "c",
        "Authorization": "Bearer mine", "x-api-key": "mine", "session-id": "s", "X-Forwarded-Host": "evil.invalid", "anthropic-version": "2023-06-01",
        "anthropic-beta": "claude-code-20250219, code-execution-2025-08-25,files-api-2025-04-14, context-1m-2025-08-07",
    }  # fmt: skip
    body = request("messages", metadata={"user_id": "u"}, service_tier="priority", speed="fast", max_tokens=5)
    admitted = admit("messages", body, headers, "beta=true&x=1")
    assert admitted.headers == {
        "content-type": "application/json", "session-id": "s", "anthropic-version": "2023-06-01",
        "anthropic-beta": "claude-code-20250219,context-1m-2025-08-07",
    }  # fmt: skip
    assert admitted.query == ""
    assert set(admitted.body) == {"model", "messages", "tools", "max_tokens"}
    for name in (
        "OpenAI-Organization",
        "Cookie",
        "metadata",
        "service_tier",
        "speed",
        "files-api-2025-04-14",
        "?beta=true&x=1",
    ):
        assert name in admitted.dropped
    assert admit("messages", body, query="beta=true").query == "beta=true"
    assert admit("responses", request("responses", store=True)).body["store"] is False
    assert admit("chat", request("chat", store=True)).body["store"] is False


def work(tmp_path, ledger, steps, do, **more):
    async def main(provider):
        gateway = Gateway(tmp_path / "g.sock", ledger, Live(provider.url, "sk-real"), "codex", **more)
        await gateway.start()
        try:
            async with aiohttp.ClientSession(connector=aiohttp.UnixConnector(str(tmp_path / "g.sock"))) as session:
                return await do(session)
        finally:
            await gateway.close()

    with FaultyProvider(steps) as provider:
        return asyncio.run(main(provider)), provider


def test_a_field_given_twice_reaches_the_provider_as_it_was_judged(tmp_path, ledger):
    """Parsers differ on which of two equal keys counts: what was judged is what is sent, not the agent's bytes."""
    raw = b'{"model": "dearest", "tools": [{"type": "web_search"}], "input": "x", "tools": [], "model": "m-1"}'

    async def do(session):
        async with session.post("http://g/v1/responses?beta=true&organization=x", data=raw) as response:
            return response.status

    status, provider = work(tmp_path, ledger, [{"text": "x"}], do, admission=Admission({"m-1"}))
    assert status == 200
    ((headers, body, query),) = provider.seen
    assert body == {"model": "m-1", "tools": [], "input": "x", "store": False}
    assert (headers["Authorization"], query) == ("Bearer sk-real", "")


def test_hanging_up_before_the_bill_hides_no_tokens(tmp_path, ledger):
    """An agent that takes the words and leaves before the usage: the gateway reads the answer to its end."""
    step = {"shell": "ls", "usage": {"input": 700, "output": 90}, "faults": [{"stalled": 0.6}] * 3}
    allowance = Allowance({}, tokens=100_000)

    async def do(session):
        for _ in range(3):
            async with session.post("http://g/v1/responses", json=request("responses", stream=True)) as response:
                await response.content.readany()
                response.close()
        for _ in range(100):
            if len(list(ledger.events("tokens"))) == 3:
                return
            await asyncio.sleep(0.05)

    work(tmp_path, ledger, [step], do, allowance=allowance)
    assert [e.payload.in_flight for e in ledger.events("tokens")] == [False] * 3
    assert allowance.spent_tokens == 3 * 790
    assert metrics.token_totals(ledger.events(), 60).headline == 3 * 790


def test_who_leaves_while_the_provider_is_waited_for_is_not_asked_for_again(tmp_path, ledger):
    limit = {"status": 429, "headers": {"retry-after": "1"}}

    async def do(session):
        with pytest.raises(asyncio.TimeoutError):
            async with session.post(
                "http://g/v1/responses", json=request("responses"), timeout=aiohttp.ClientTimeout(0.4)
            ):
                pass
        await asyncio.sleep(1.2)

    _, provider = work(tmp_path, ledger, [{"text": "x", "faults": [limit] * 5}], do)
    assert len(provider.seen) == 1
    assert [e.payload.phase for e in ledger.events("wait")] == ["started", "ended"]


def test_a_thousand_connections_are_a_few_calls_at_once(tmp_path, ledger):
    async def do(session):
        async def one():
            async with session.post("http://g/v1/responses", json=request("responses")) as response:
                return response.status

        return await asyncio.gather(*(one() for _ in range(200)))

    statuses, provider = work(tmp_path, ledger, [{"text": "x", "delay": 0.1}], do)
    assert set(statuses) == {200}
    assert provider.most_at_once <= 64


@pytest.mark.parametrize("raw", [b"[" * 200_000, b"{" * 10, b'{"model": 1e999}', b'"x"', b"\xff\xfe", b""])
def test_bodies_that_are_none_are_refused_and_end_nothing(tmp_path, ledger, raw):
    async def do(session):
        async with session.post("http://g/v1/responses", data=raw) as response:
            first = response.status
        async with session.post("http://g/v1/responses", json=request("responses")) as response:
            return first, response.status

    (first, second), _ = work(tmp_path, ledger, [{"text": "x"}], do, admission=Admission({"m-1"}))
    assert (first, second) == (400, 200)


def test_what_was_refused_and_dropped_is_in_the_ledger_once(tmp_path, ledger):
    async def do(session):
        for _ in range(3):
            body = json.dumps(request("responses", tools=[{"type": "web_search"}]))
            async with session.post("http://g/v1/responses", data=body, headers={"X-Out": "1"}) as response:
                assert response.status == 400
                assert "provider-hosted tool 'web_search'" in await response.text()
            async with session.post(
                "http://g/v1/responses", json=request("responses"), headers={"X-Out": "1"}
            ) as response:
                assert response.status == 200

    work(tmp_path, ledger, [{"text": "x"}], do)
    events = [e.payload for e in ledger.events("refusal")]
    assert [e.count for e in events if e.phase == "refused"] == [1, 2, 3]
    (dropped,) = [e for e in events if e.phase == "dropped"]
    assert "X-Out" in dropped.names


def test_no_body_makes_the_gateway_stumble(tmp_path, ledger, rng):
    """A hundred and fifty requests with anything in any field: every one is answered, by the provider or by a refusal."""
    anything = [
        None,
        True,
        0,
        -1,
        10**30,
        "",
        "x",
        [],
        {},
        [None],
        [[]],
        [{}],
        {"x": {}},
        [{"type": 3}],
        {"type": []},
        [{"content": 5}],
        [{"tools": 7}],
    ]

    async def do(session):
        seen = set()
        for k in range(150):
            dialect = ("responses", "chat", "messages")[k % 3]
            body = request(dialect, stream=bool(k % 2))
            names = [
                *body,
                "stream_options",
                "max_tokens",
                "n",
                "max_output_tokens",
                "system",
                "instructions",
                "tool_choice",
                "store",
                "metadata",
            ]
            names.remove("model")
            for name in rng.choice(names, 3):
                body[str(name)] = anything[rng.integers(len(anything))]
            async with session.post(f"http://g{BY_NAME[dialect].path}", json=body) as response:
                await response.read()
                seen.add(response.status)
        return seen

    async def main():
        gateway = Gateway(tmp_path / "g.sock", ledger, Echo(), "codex")
        await gateway.start()
        try:
            async with aiohttp.ClientSession(connector=aiohttp.UnixConnector(str(tmp_path / "g.sock"))) as session:
                return await do(session)
        finally:
            await gateway.close()

    assert asyncio.run(main()) == {200, 400}


class Echo:
    """An upstream that prepares a call as a live one does, and says "ok"."""

    async def answer(self, call):
        body = dict(call.body)
        call.dialect.prepare(body)
        yield Head(200, "application/json")
        yield json.dumps({"ok": True, "usage": None}).encode()

    async def close(self):
        pass
