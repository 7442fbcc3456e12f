"""The three model protocols: what a script says is what the meter reads, however the stream is cut."""

import itertools
import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from autoenvbench.errors import UserError
from autoenvbench.gateway.allowance import Allowance
from autoenvbench.gateway.dialect import Estimate, Meter, Step
from autoenvbench.gateway.gateway import DIALECTS
from autoenvbench.record import prices
from autoenvbench.record.events import TokensEvent

BY_NAME = {d.name: d for d in DIALECTS}
SHELLS = {
    "responses": [{"type": "function", "name": "exec_command"}],
    "chat": [{"type": "function", "function": {"name": "bash"}}],
    "messages": [{"name": "Bash", "input_schema": {}}],
}
counts = st.integers(0, 10**7)


@st.composite
def usages(draw):
    cached, written, fresh, output = (draw(counts) for _ in range(4))
    return {"input": cached + written + fresh, "cached_input": cached, "cache_write": written, "output": output}


@given(
    name=st.sampled_from(sorted(BY_NAME)), usage=usages(), stream=st.booleans(), shell=st.booleans(),
    cuts=st.lists(st.integers(0, 3000), max_size=8),
)  # fmt: skip
def test_a_scripted_step_is_metered_to_the_token(name, usage, stream, shell, cuts):
    dialect = BY_NAME[name]
    request = {"model": "m-1", "stream": stream, "tools": SHELLS[name]}
    given_step = {
        "usage": usage,
        **({"shell": "echo usage error _stop"} if shell else {"text": 'the "usage" of {"error": 1}'}),
    }
    step = Step.resolve(given_step, dialect.tools(request))
    assert (step.tool is not None) == shell
    answer = b"".join(dialect.reply(request, step, "3_ab"))
    meter = Meter(dialect, request, Estimate(100))
    edges = sorted({0, len(answer), *(c for c in cuts if c < len(answer))})
    for low, high in itertools.pairwise(edges):
        meter.feed(answer[low:high])
    event = meter.result(200, 1.0)
    assert {key: getattr(event, key) for key in usage} == usage
    assert not event.in_flight
    assert event.error is None
    assert event.model == "m-1"


@pytest.mark.parametrize("name", BY_NAME)
def test_an_answer_cut_off_keeps_what_was_known(name):
    dialect = BY_NAME[name]
    request = {"model": "m-1", "stream": True, "tools": []}
    answer = b"".join(
        dialect.reply(request, Step.resolve({"text": "x", "usage": {"input": 777, "output": 9}}, set()), "0")
    )
    meter = Meter(dialect, request, Estimate(100))
    meter.feed(answer[: len(answer) // 2])
    event = meter.result(200, 1.0)
    assert event.in_flight
    assert event.input == (777 if name == "messages" else 100)  # Anthropic tells the input first; else 4 bytes a token


@pytest.mark.parametrize(
    ("name", "request_body", "answers"),
    [
        ("responses", {"input": [{"type": "function_call_output"}, {"type": "message"}, {"type": "local_shell_call_output"}]}, 2),
        ("responses", {"input": "just text"}, 0),
        ("chat", {"messages": [{"role": "user", "content": "a"}, {"role": "tool", "content": "b"}]}, 1),
        ("messages", {"messages": [{"role": "user", "content": [{"type": "tool_result"}, {"type": "text"}]}, {"role": "user", "content": "x"}]}, 1),
    ],
)  # fmt: skip
def test_where_a_script_stands_follows_from_the_request_alone(name, request_body, answers):
    assert BY_NAME[name].tool_results(request_body) == answers


def test_a_live_chat_stream_is_asked_for_its_usage():
    chat = BY_NAME["chat"]
    request = {"stream": True}
    assert chat.prepare(request)
    assert request["stream_options"] == {"include_usage": True}
    assert not chat.prepare(request)
    assert not chat.prepare({"stream": False})


@pytest.mark.parametrize("name", BY_NAME)
def test_errors_of_a_provider_are_kept(name):
    body = {"type": "error", "error": {"type": "overloaded_error", "message": "come back later"}}
    meter = Meter(BY_NAME[name], {"model": "m"}, Estimate(100))
    meter.feed(json.dumps(body).encode())
    event = meter.result(529, 0.1)
    assert (event.error, event.status, event.input) == ("come back later", 529, 0)


# -- prices and budgets --------------------------------------------------------------------------------------------------
def test_cost_is_what_the_categories_cost():
    price = prices.Price(input=4, cached_input=0.5, cache_write=5, output=20)
    call = TokensEvent(
        model="m", status=200, input=3_000_000, cached_input=1_000_000, cache_write=1_000_000, output=500_000
    )
    assert price.of(call) == pytest.approx(4 + 0.5 + 5 + 10)


@pytest.mark.parametrize("model", ["gpt-5.5", "openai/gpt-5.5", "claude-opus-4-7-20260416", "moonshot/kimi-k2.7-code"])
def test_models_find_their_price(model):
    assert prices.price_of(model, prices.load()) is not None


@pytest.mark.parametrize("model", ["gpt-5.5-mini", "gpt", "llama", "claude-opus-4-70"])
def test_no_model_gets_another_ones_price(model):
    assert prices.price_of(model, prices.load()) is None


def test_ones_own_prices_come_first_and_bad_ones_are_explained(tmp_path):
    file = tmp_path / "prices.json"
    file.write_text('{"models": {"llama": {"input": 0, "cached_input": 0, "cache_write": 0, "output": 0}}}')
    table = prices.load(file)
    assert prices.price_of("openai/llama", table).output == 0
    assert "gpt-5.5" in table
    file.write_text('{"models": {"llama": {"cost": 3}}}')
    with pytest.raises(UserError, match="dollars per million"):
        prices.load(file)


def test_budgets_are_over_when_spent_and_a_cost_budget_when_it_cannot_be_known():
    table = prices.load()
    call = TokensEvent(model="gpt-5.5", status=200, input=100_000, cached_input=50_000, output=1000)
    allowed = Allowance(table, tokens=51_001, cost=1.0)
    allowed.count(call)
    assert allowed.exhausted_budget() is None
    allowed.count(call)
    assert allowed.exhausted_budget() == "token_budget"
    costly = Allowance(table, cost=1.0)
    costly.count(call)
    assert costly.spent_cost == pytest.approx(0.25 + 0.025 + 0.03)
    assert costly.exhausted_budget() is None
    costly.count(call.model_copy(update={"model": "who-knows"}))
    assert costly.exhausted_budget() == "cost_budget"
