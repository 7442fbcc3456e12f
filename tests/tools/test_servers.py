"""Clients of external servers, each against a server on loopback that speaks the format: policies, planners, segmentation."""

import asyncio
import base64
import threading

import cv2
import msgpack
import numpy as np
import pytest
from aiohttp import web
from enpire_envs.remote.venvs import ROBOCASA
from enpire_envs.tools.config import ToolsConfig
from enpire_envs.tools.log import ToolError
from enpire_envs.tools.servers import Gr00t, OpenPi, PlannerServer, Segmenter, policy_server

from autoenvbench.study.score import score

STATE = {"position": np.zeros(3), "quaternion": np.array([1.0, 0, 0, 0]), "gripper_opening": 1.0}
IMAGES = {"agentview": np.full((24, 32, 3), 7, np.uint8)}


def encode(value):
    return {b"__ndarray__": True, b"data": value.tobytes(), b"dtype": value.dtype.str, b"shape": value.shape}


def decode(value):
    if b"__ndarray__" in value:
        return np.frombuffer(value[b"data"], value[b"dtype"]).reshape(value[b"shape"])
    return value


@pytest.fixture
def serve():
    """Starts an aiohttp application with one handler on a free loopback port; yields its address."""
    loop = asyncio.new_event_loop()
    thread = threading.Thread(target=loop.run_forever, daemon=True)
    thread.start()
    runners = []

    def start(handler):
        async def go():
            app = web.Application(client_max_size=1 << 26)
            app.router.add_route("*", "/{path:.*}", handler)
            runner = web.AppRunner(app)
            await runner.setup()
            site = web.TCPSite(runner, "127.0.0.1", 0)
            await site.start()
            runners.append(runner)
            return site._server.sockets[0].getsockname()[1]

        return f"127.0.0.1:{asyncio.run_coroutine_threadsafe(go(), loop).result(10)}"

    yield start
    for runner in runners:
        asyncio.run_coroutine_threadsafe(runner.cleanup(), loop).result(10)
    loop.call_soon_threadsafe(loop.stop)
    thread.join(5)
    loop.close()


def openpi(actions, seen):
    """A server as openpi's: metadata first, then an answer to each observation."""

    async def handle(request):
        socket = web.WebSocketResponse(max_msg_size=1 << 26)
        await socket.prepare(request)
        await socket.send_bytes(msgpack.packb({"name": "fake"}))
        async for message in socket:
            seen.append(msgpack.unpackb(message.data, object_hook=decode, strict_map_key=False))
            if isinstance(actions, str):
                await socket.send_str(actions)
            else:
                await socket.send_bytes(msgpack.packb({"actions": actions}, default=encode))
        return socket

    return handle


def test_openpi(serve):
    seen, chunk = [], np.linspace(-1, 1, 35, dtype=np.float32).reshape(5, 7)
    client = policy_server("ws://" + serve(openpi(chunk, seen)))
    assert isinstance(client, OpenPi)
    assert np.allclose(client.actions(IMAGES, STATE, "lift the cube"), chunk)
    assert seen[0]["prompt"] == "lift the cube"
    assert np.array_equal(seen[0]["observation/agentview"], IMAGES["agentview"])
    assert seen[0]["observation/state"].shape == (8,)


@pytest.mark.parametrize(
    "answer", ["Traceback: out of memory", np.zeros(7, np.float32), np.full((2, 7), np.nan, np.float32)]
)
def test_a_policy_server_that_answers_nonsense_is_a_tool_error(serve, answer):
    with pytest.raises(ToolError, match="no actions from"):
        policy_server("ws://" + serve(openpi(answer, []))).actions(IMAGES, STATE, "")


def test_gr00t(serve):
    seen = []

    async def handle(request):
        seen.append((await request.json())["observation"])
        ones = np.ones((4, 3)).tolist()
        return web.json_response({
            "action.end_effector_position": ones, "action.end_effector_rotation": ones, "action.gripper_close": [[0.9]] * 4,
            "action.base_motion": np.zeros((4, 4)).tolist(), "action.control_mode": [[0.1]] * 4,
        })  # fmt: skip

    client = policy_server("http://" + serve(handle))
    assert isinstance(client, Gr00t)
    actions = client.actions(IMAGES, STATE, "open the drawer")
    assert actions.shape == (4, 12)
    assert (actions[:, 6] == 1).all()  # closes
    assert (actions[:, 11] == -1).all()  # the arm's mode
    assert seen[0]["annotation.human.task_description"] == ["open the drawer"]
    assert np.shape(seen[0]["video.agentview"]) == (1, 24, 32, 3)


def test_segmentation_and_planning(serve):
    mask = np.zeros((24, 32), np.uint8)
    mask[4:8, 10:20] = 255

    async def handle(request):
        body = await request.json()
        if "prompt" in body:
            picture = cv2.imdecode(np.frombuffer(base64.b64decode(body["image"]), np.uint8), cv2.IMREAD_COLOR)
            assert picture.shape == (24, 32, 3)
            text = base64.b64encode(cv2.imencode(".png", mask)[1].tobytes()).decode()
            return web.json_response({"masks": [text], "scores": [0.8]})
        if body["position"][0] > 1:
            return web.json_response({"ok": False, "why": "too far"})
        return web.json_response(
            {"ok": True, "positions": [[0, 0, 0], body["position"]], "quaternions": [[1, 0, 0, 0]] * 2}
        )

    address = "http://" + serve(handle)
    (region,) = Segmenter(address).segment("cup", IMAGES["agentview"])
    assert region.box == (10, 4, 20, 8)
    assert region.mask.sum() == 40
    with pytest.raises(ToolError, match="no masks"):
        Segmenter("http://" + serve(nonsense)).segment("cup", IMAGES["agentview"])
    planner = PlannerServer(address)
    goal, turn, none = np.array([0.5, 0, 0]), np.array([1.0, 0, 0, 0]), np.zeros((0, 3))
    assert planner.plan(np.zeros(7), goal, turn, none)["positions"].shape == (2, 3)
    assert planner.plan(np.zeros(7), goal * 3, turn, none) == {"ok": False, "why": "too far"}


async def nonsense(request):
    return web.json_response({"masks": ["x"], "scores": [1]})


def test_nobody_there():
    with pytest.raises(ToolError, match="cannot be asked"):
        PlannerServer("http://127.0.0.1:9").plan(np.zeros(7), np.zeros(3), np.ones(4), np.zeros((0, 3)))
    with pytest.raises(ToolError, match="no actions"):
        OpenPi("ws://127.0.0.1:9").actions(IMAGES, STATE, "")
    with pytest.raises(ValueError, match="policy_url"):
        policy_server("tcp://127.0.0.1:9")


@pytest.mark.parametrize(
    ("given", "complaint"),
    [
        ({"mode": "open"}, "mode is one of"),
        ({"width": 5}, "16 to 1024"),
        ({"vision": "vlm"}, "vlm=MODEL"),
        ({"x": 1}, "unknown x"),
    ],
)
def test_wrong_settings_say_what_is_right(given, complaint):
    with pytest.raises(ValueError, match=complaint):
        ToolsConfig.of(given)


@pytest.mark.cage
@pytest.mark.skipif(not ROBOCASA.installed, reason="autoenvbench setup robocasa")
def test_an_external_policy_drives_an_episode(serve):
    """The `vla` baseline against a server that lowers the hand: its chunks are executed until the time limit."""
    seen = []
    down = np.tile(np.array([0, 0, -0.2, 0, 0, 0, -1.0], np.float32), (8, 1))
    url = "ws://" + serve(openpi(down, seen))
    result = score(
        "ENPIRE/Robosuite-Lift-v0", "vla", 1, env_kwargs={"max_episode_steps": 24}, tools={"policy_url": url}
    )
    assert result["failures"] == {"time_limit": 1}
    assert len(seen) in (3, 4)
    assert {"observation/agentview", "observation/eye_in_hand", "observation/state", "prompt"} <= seen[0].keys()
    heights = [float(o["observation/state"][2]) for o in seen]
    assert heights[1] < heights[0] - 0.01
