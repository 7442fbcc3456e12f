"""A policy's own model calls (`vlm_query`): through a gateway of the station's, metered under the name "policy"."""

from __future__ import annotations

import base64
import contextlib
import os
import tempfile
from pathlib import Path
from typing import Any

import aiohttp
import cv2
import numpy as np
from enpire_envs.tools.log import ToolError

from autoenvbench.gateway.admission import Admission
from autoenvbench.gateway.gateway import Gateway
from autoenvbench.gateway.loop_thread import LoopThread
from autoenvbench.gateway.upstream import Live, Replay
from autoenvbench.record.events import POLICY
from autoenvbench.record.ledger import EventSink

_TIMEOUT_S = 120.0  # for an answer
_OPEN_S = 30.0  # for the gateway to open or to close


class PolicyModels:
    """Answers questions about images, by a provider or by a script, on a thread of its own. A context manager.

    Args:
        ledger: opened with a clock; calls are recorded under the name "policy".
        model: as its provider names it.
        replay: a script that stands in for the provider (see `upstream.Replay`), or None.
        base_url: the provider's; None for OPENAI_BASE_URL, or OpenAI.
    """

    def __init__(self, ledger: EventSink, model: str, replay: Path | None, base_url: str | None) -> None:
        self._model = model
        base = base_url or os.environ.get("OPENAI_BASE_URL") or "https://api.openai.com/v1"
        self._upstream = Replay(replay) if replay else Live(base, os.environ.get("OPENAI_API_KEY", "none"))
        self._ledger = ledger
        self._resources = contextlib.ExitStack()

    def __enter__(self) -> PolicyModels:
        with contextlib.ExitStack() as opening:
            folder = Path(opening.enter_context(tempfile.TemporaryDirectory(prefix="aeb-")))
            self._thread = opening.enter_context(LoopThread("policy-models"))
            rules = Admission({self._model})
            self._gateway = Gateway(folder / "vlm.sock", self._ledger, self._upstream, POLICY, admission=rules)
            self._thread.submit(self._gateway.start()).result(_OPEN_S)
            opening.callback(lambda: self._thread.submit(self._gateway.close()).result(_OPEN_S))
            self._resources = opening.pop_all()
        return self

    def __exit__(self, *exc: object) -> None:
        self._resources.close()

    def ask(self, question: str, image: np.ndarray | None) -> str:
        """The model's answer to a question about an image, (height, width, 3) uint8 RGB, or about none. Raises ToolError where
        there is none within `_TIMEOUT_S`."""
        answer = self._thread.submit(self._ask(question, image))
        try:
            return answer.result(_TIMEOUT_S)
        except (TimeoutError, aiohttp.ClientError, KeyError, ValueError, TypeError, IndexError) as error:
            answer.cancel()
            raise ToolError("vlm", f"the model gave no answer: {error!r}"[:300]) from None

    async def _ask(self, question: str, image: np.ndarray | None) -> str:
        content: list[dict[str, Any]] = [{"type": "text", "text": question}]
        if image is not None:
            _, png = cv2.imencode(".png", image[..., ::-1])
            url = "data:image/png;base64," + base64.b64encode(png.tobytes()).decode()
            content.append({"type": "image_url", "image_url": {"url": url}})
        body = {"model": self._model, "messages": [{"role": "user", "content": content}], "temperature": 0}
        connector = aiohttp.UnixConnector(str(self._gateway.socket))
        async with (
            aiohttp.ClientSession(connector=connector) as session,
            session.post("http://gateway/v1/chat/completions", json=body) as response,
        ):
            answer = await response.json()
            if response.status != 200:
                raise ValueError(str(answer)[:200])
            return str(answer["choices"][0]["message"]["content"])
