"""The vision-language model that answers members' questions about pictures (`--vision tool`). The station asks it itself, so that no member
has its address, its key or a picture; its tokens are metered under the name "vision", by member."""

from __future__ import annotations

import asyncio
import base64
import json
import os
import secrets
import time
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import Future, wait
from contextlib import aclosing
from typing import Any

from autoenvbench.gateway.chat import Chat
from autoenvbench.gateway.dialect import BYTES_PER_TOKEN, Estimate, Meter
from autoenvbench.gateway.loop_thread import LoopThread
from autoenvbench.gateway.retries import Failure, ProviderLost
from autoenvbench.gateway.upstream import Call, Head, Live
from autoenvbench.record.events import VISION, CallEvent, TokensEvent
from autoenvbench.record.ledger import EventSink

#: Of a server that `--vision-url` names; without one, OpenAI's is asked with OPENAI_API_KEY where this one is not set.
KEY = "VISION_API_KEY"
ANSWER_S = 60.0  # for an answer, all attempts together
ATTEMPTS = 3
MAX_BODY = 1 << 20  # bytes of an answer that are read
PICTURE_TOKENS = 1000  # estimated, of a picture in a call that was cut
_LOOK_S = 0.1  # between two looks at whether anybody still waits for an answer
_Answer = tuple[int, bytes, str | None]  # HTTP status, body, and why there is none
_RULES = (
    "You look at pictures of a robot's workspace for somebody who cannot see them. Answer the question in plain words, with positions and "
    "sizes in pixels where they help, in at most 1,500 characters. Never transcribe pictures: no pixel values, no encoded data, no drawings "
    "in characters, whatever the question says."
)


class NoAnswer(Exception):
    """The model gave no answer to the call of this id; the text is for people: it may name the server."""

    def __init__(self, why: str, call: str) -> None:
        super().__init__(why)
        self.call = call


def key_of(url: str | None) -> str | None:
    """The key for a server, if there is one: OpenAI's own goes to nobody else."""
    return os.environ.get(KEY) or (os.environ.get("OPENAI_API_KEY") if url is None else None)


class VisionModel:
    """Asks one model on an OpenAI-compatible server, from any thread. A context manager.

    Args:
        model: as its server names it.
        url: the server's, None for OpenAI's.
        answer_s: how long an answer may take [s].
    """

    def __init__(self, model: str, url: str | None, answer_s: float = ANSWER_S) -> None:
        self.model, self._answer_s, self._dialect = model, answer_s, Chat()
        self._upstream = Live(url or "https://api.openai.com/v1", key_of(url) or "none")
        self._thread = LoopThread("vision-model")

    def __enter__(self) -> VisionModel:
        self._thread.__enter__()
        return self

    def __exit__(self, *exc: object) -> None:
        self._thread.submit(self._upstream.close()).result(self._answer_s)
        self._thread.__exit__()

    def ask(
        self, ledger: EventSink, member: str, question: str, pictures: Sequence[tuple[str, bytes]],
        stop: Callable[[], str | None] = lambda: None,
    ) -> tuple[str, str]:  # fmt: skip
        """The answer's text, as the model gave it, and the id of the call's events. Raises NoAnswer.

        Args:
            ledger: the call is in it before the model is asked, and its tokens before this returns.
            member: who asks, under whose name the tokens are counted.
            pictures: captions, and pictures as JPEG or PNG.
            stop: why nobody waits for the answer any more: the call is cut, and what it has cost estimated.
        """
        body, call = self._request(question, pictures), secrets.token_hex(8)
        words = len(question) + sum(len(caption) for caption, _ in pictures) + len(_RULES)
        estimate = Estimate(words // BYTES_PER_TOKEN + PICTURE_TOKENS * len(pictures))
        ledger.append(CallEvent(id=call, model=self.model, input=estimate.input, member=member), agent=VISION)
        meter, began = Meter(self._dialect, body, estimate), time.monotonic()
        status, answer, lost = self._wait(self._thread.submit(self._ask(body)), stop)
        meter.feed(answer)
        tokens: TokensEvent = meter.result(status or 200, time.monotonic() - began, call, lost)
        ledger.append(tokens.model_copy(update={"member": member}), agent=VISION)
        if status != 200 or lost is not None:
            raise NoAnswer(lost or Failure(status, answer).message, call)
        text = _text(answer)
        if text is None:
            raise NoAnswer("what it answered is no chat completion with a text", call)
        return text, call

    def _wait(self, answer: Future[_Answer], stop: Callable[[], str | None]) -> _Answer:
        """What `_ask` comes to, or that it was stopped."""
        while not wait([answer], _LOOK_S).done:
            if (why := stop()) is not None:
                answer.cancel()
                return 0, b"", why
        return answer.result()

    def _request(self, question: str, pictures: Sequence[tuple[str, bytes]]) -> dict[str, Any]:
        """What is asked. No limit of tokens is sent: half of the servers know max_tokens, the others max_completion_tokens."""
        content: list[dict[str, Any]] = []
        for caption, picture in pictures:
            kind = "png" if picture.startswith(b"\x89PNG") else "jpeg"
            url = f"data:image/{kind};base64,{base64.b64encode(picture).decode()}"
            content += [{"type": "text", "text": caption}, {"type": "image_url", "image_url": {"url": url}}]
        content.append({"type": "text", "text": f"The question: {question}"})
        return {
            "model": self.model,
            "messages": [{"role": "system", "content": _RULES}, {"role": "user", "content": content}],
        }

    async def _ask(self, body: Mapping[str, Any]) -> _Answer:
        """Status and body of the answer, and why there is none; what passes is tried again while there is time."""
        status, answer = 0, b""
        lost: str | None = "no attempt was made"
        try:
            async with asyncio.timeout(self._answer_s):
                for attempt in range(ATTEMPTS):
                    await asyncio.sleep(2**attempt - 1)
                    status, answer, lost = await self._once(body)
                    if lost is None and (status == 200 or not Failure(status, answer).transient):
                        break
        except TimeoutError:
            return status, answer, f"no answer within {self._answer_s:.0f} s"
        return status, answer, lost

    async def _once(self, body: Mapping[str, Any]) -> _Answer:
        status, answer = 0, bytearray()
        try:
            async with aclosing(self._upstream.answer(Call(self._dialect, dict(body), {}, ""))) as parts:
                async for part in parts:
                    if isinstance(part, Head):
                        status = part.status
                    elif len(answer) + len(part) > MAX_BODY:
                        return status, b"", f"an answer of more than {MAX_BODY >> 20} MB"
                    else:
                        answer.extend(part)
        except ProviderLost as error:
            return status, bytes(answer), str(error) or "the answer was cut"
        return status, bytes(answer), None


def _text(answer: bytes) -> str | None:
    """The text of a chat completion, if it is one that has a text."""
    try:
        content = json.loads(answer)["choices"][0]["message"]["content"]
        if isinstance(content, list):
            content = "".join(part["text"] for part in content if part.get("type") == "text")
    except (ValueError, LookupError, TypeError, AttributeError, RecursionError):
        return None
    return content if isinstance(content, str) and content.strip() else None
