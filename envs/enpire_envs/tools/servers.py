"""Clients of what users run beside us: segmentation, motion planning, policies. One request, one answer, each on loopback or
wherever the user says.

Wire formats: segmentation and planning are JSON over HTTP, defined here; policy servers are those of openpi (msgpack over a
WebSocket, https://github.com/Physical-Intelligence/openpi) and, in its HTTP form, GR00T (JSON with lists).
"""

from __future__ import annotations

import asyncio
import base64
import json
import urllib.error
import urllib.request
from typing import Any, Protocol

import cv2
import msgpack
import numpy as np

from enpire_envs.tools.log import ToolError
from enpire_envs.tools.perception import Region

TIMEOUT_S = 60.0


class Segmenter:
    """POST {"prompt", "image": PNG in base64} to `url`; the answer is {"masks": [PNG in base64, ...], "scores": [...]}."""

    def __init__(self, url: str) -> None:
        self._url = url

    def segment(self, prompt: str, rgb: np.ndarray) -> list[Region]:
        """What `prompt` may mean in an image (height, width, 3) uint8, best first. Raises ToolError ("perception")."""
        _, png = cv2.imencode(".png", rgb[..., ::-1])
        answer = _post(self._url, {"prompt": prompt, "image": base64.b64encode(png.tobytes()).decode()}, "perception")
        found = []
        try:
            for text, score in zip(answer["masks"], answer["scores"], strict=True):
                picture = cv2.imdecode(np.frombuffer(base64.b64decode(text), np.uint8), cv2.IMREAD_GRAYSCALE)
                if picture is None:
                    raise ValueError("a mask is no image")
                mask = np.asarray(picture) > 0
                if mask.shape != rgb.shape[:2]:
                    raise ValueError(f"a mask of {mask.shape} for an image of {rgb.shape[:2]}")
                rows, columns = np.nonzero(mask)
                if len(rows):
                    box = (int(columns.min()), int(rows.min()), int(columns.max()) + 1, int(rows.max()) + 1)
                    found.append(Region(mask, box, float(score)))
        except (KeyError, TypeError, ValueError, cv2.error) as error:
            raise ToolError("perception", f"{self._url} gave no masks and scores: {error!r}") from None
        return sorted(found, key=lambda region: -region.score)


class PlannerServer:
    """POST {"joints", "position", "quaternion", "obstacles": [[x, y, z], ...]}; the answer is {"ok", "why", "joints", "positions",
    "quaternions"} as of a path (what a thin server around cuRobo returns)."""

    def __init__(self, url: str) -> None:
        self._url = url

    def plan(
        self, joints: np.ndarray, position: np.ndarray, quaternion: np.ndarray, obstacles: np.ndarray
    ) -> dict[str, Any]:
        """A path of the hand from the arm's joints to a pose around obstacles.

        Args:
            joints: (n,) present angles [rad].
            position, quaternion: (3,) and (4,) goal [m; w, x, y, z], in the body's frame.
            obstacles: (n, 3) points in the same frame [m].

        Returns:
            {"ok": True, "positions": (k, 3), "quaternions": (k, 4)}, or {"ok": False, "why": words}.

        Raises:
            ToolError: the server gave no answer of this form ("planning").
        """
        answer = _post(
            self._url,
            {"joints": np.asarray(joints).tolist(), "position": position.tolist(), "quaternion": quaternion.tolist(),
             "obstacles": np.asarray(obstacles).round(4).tolist()},
            "planning",
        )  # fmt: skip
        if not answer.get("ok"):
            return {"ok": False, "why": str(answer.get("why", "the planner server found no way"))[:300]}
        try:
            path = {name: np.asarray(answer[name], float) for name in ("positions", "quaternions")}
            if path["positions"].shape[1:] != (3,) or path["quaternions"].shape != (len(path["positions"]), 4):
                raise ValueError("positions are (n, 3), quaternions (n, 4)")
        except (KeyError, TypeError, ValueError) as error:
            raise ToolError("planning", f"{self._url} gave no path: {error!r}") from None
        return {"ok": True, "why": str(answer.get("why", "by the planner server")), **path}


class PolicyServer(Protocol):
    """A vision-language-action policy behind a socket."""

    def actions(self, images: dict[str, np.ndarray], state: dict[str, Any], prompt: str) -> np.ndarray:
        """A chunk (n, dim) of the environment's actions. Raises ToolError."""


def policy_server(url: str) -> PolicyServer:
    """By the URL's scheme. Raises ValueError."""
    if url.startswith(("ws://", "wss://")):
        return OpenPi(url)
    if url.startswith(("http://", "https://")):
        return Gr00t(url)
    raise ValueError(f"tools: policy_url is ws://HOST:PORT (openpi) or http://HOST:PORT (GR00T); got {url!r}")


class OpenPi:
    """openpi's policy server: it greets with its metadata; an observation goes out, {"actions": (n, dim)} comes back."""

    def __init__(self, url: str) -> None:
        self._url = url

    def actions(self, images: dict[str, np.ndarray], state: dict[str, Any], prompt: str) -> np.ndarray:
        """A chunk of actions (n, dim) for images by camera, the body's state and a prompt. Raises ToolError ("policy")."""
        proprio = np.concatenate([state["position"], state["quaternion"], [state["gripper_opening"]]]).astype(
            np.float32
        )
        observation: dict[str, Any] = {f"observation/{name}": image for name, image in images.items()}
        observation |= {"observation/state": proprio, "prompt": prompt}
        try:
            answer = asyncio.run(asyncio.wait_for(self._infer(observation), TIMEOUT_S))
            return _chunk(answer["actions"])
        except (OSError, TimeoutError, ValueError, KeyError, TypeError) as error:
            raise ToolError("policy", f"no actions from {self._url}: {error!r}") from None

    async def _infer(self, observation: dict[str, Any]) -> dict[str, Any]:
        import aiohttp

        try:
            async with (
                aiohttp.ClientSession() as session,
                session.ws_connect(self._url, max_msg_size=1 << 28) as socket,
            ):
                await socket.receive_bytes()  # its metadata
                await socket.send_bytes(msgpack.packb(observation, default=_encode))
                message = await socket.receive()
        except aiohttp.ClientError as error:
            raise ValueError(str(error)) from None
        if isinstance(message.data, str):  # how openpi reports an exception
            raise ValueError(message.data[-300:])
        answer: dict[str, Any] = msgpack.unpackb(message.data, object_hook=_decode)
        return answer


class Gr00t:
    """GR00T's server in its HTTP form: POST /act with one time step of video, state and language; action parts come back."""

    def __init__(self, url: str) -> None:
        self._url = url.rstrip("/") + "/act"

    def actions(self, images: dict[str, np.ndarray], state: dict[str, Any], prompt: str) -> np.ndarray:
        """A chunk of actions (n, dim) for images by camera, the body's state and a prompt. Raises ToolError ("policy")."""
        observation: dict[str, Any] = {f"video.{name}": image[None].tolist() for name, image in images.items()}
        observation |= {
            "state.end_effector_position_relative": [np.asarray(state["position"]).tolist()],
            "state.end_effector_rotation_relative": [np.asarray(state["quaternion"])[[1, 2, 3, 0]].tolist()],
            "state.gripper_qpos": [[float(state["gripper_opening"])]],
            "annotation.human.task_description": [prompt],
        }
        answer = _post(self._url, {"observation": observation}, "policy")
        parts = ("end_effector_position", "end_effector_rotation", "gripper_close", "base_motion", "control_mode")
        try:
            columns = [np.asarray(answer[f"action.{part}"], float).reshape(len(answer[f"action.{parts[0]}"]), -1) for part in parts
                       if f"action.{part}" in answer]  # fmt: skip
            if not columns:
                raise KeyError("action.end_effector_position")
            chunk = np.concatenate(columns, axis=1)
        except (KeyError, TypeError, ValueError) as error:
            raise ToolError("policy", f"no actions from {self._url}: {error!r}") from None
        for k in (6, 11):  # gripper and mode are 0..1 there, -1..1 here
            if chunk.shape[1] > k:
                chunk[:, k] = np.where(chunk[:, k] >= 0.5, 1.0, -1.0)
        return _chunk(chunk)


def _chunk(actions: Any) -> np.ndarray:
    chunk = np.asarray(actions, float)
    if chunk.ndim != 2 or not len(chunk) or not np.isfinite(chunk).all():
        raise ValueError(f"expected (n, dim) finite actions, got {chunk.shape}")
    return chunk


def _encode(value: Any) -> Any:
    if isinstance(value, np.ndarray):
        return {b"__ndarray__": True, b"data": value.tobytes(), b"dtype": value.dtype.str, b"shape": value.shape}
    raise TypeError(f"cannot send a {type(value).__name__}")


def _decode(value: dict[Any, Any]) -> Any:
    for key in (b"__ndarray__", "__ndarray__"):
        if key in value:
            as_key = (lambda text: text.encode()) if isinstance(key, bytes) else str
            dtype = np.dtype(value[as_key("dtype")])
            if dtype.hasobject:
                raise ValueError("an array of Python objects is refused")
            return np.frombuffer(value[as_key("data")], dtype).reshape(value[as_key("shape")])
    return value


def _post(url: str, body: dict[str, Any], kind: str) -> dict[str, Any]:
    request = urllib.request.Request(url, json.dumps(body).encode(), {"Content-Type": "application/json"})
    try:
        with urllib.request.urlopen(request, timeout=TIMEOUT_S) as response:
            answer = json.load(response)
    except (OSError, urllib.error.URLError, ValueError) as error:
        raise ToolError(kind, f"{url} cannot be asked: {error}") from None
    if not isinstance(answer, dict):
        raise ToolError(kind, f"{url} answered with {type(answer).__name__}, not with an object")
    return answer
