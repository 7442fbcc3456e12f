"""A person at the controls: what keys, sticks and a lost focus mean, and a hand that steers by what the window shows."""

import contextlib
import os
import threading
import time

import numpy as np
import pytest
from enpire_envs.episodes import Episodes

from autoenvbench.errors import UserError
from autoenvbench.make_env import make_env
from autoenvbench.study.demos import record_demos
from autoenvbench.study.teleoperation import AXES, SIDE, Gamepad, Keyboard, Operator, as_action, eased

pygame = pytest.importorskip("pygame")


@pytest.fixture(autouse=True)
def a_screen(monkeypatch):
    """SDL's own driver for machines without one: windows, surfaces and events are there, nobody sees them."""
    monkeypatch.setenv("SDL_VIDEODRIVER", "dummy")
    yield
    pygame.quit()


def key(name, down=True, mod=0):
    kind = pygame.KEYDOWN if down else pygame.KEYUP
    return pygame.event.Event(kind, scancode=getattr(pygame, f"KSCAN_{name}"), mod=mod, key=0)


def test_keys_move_while_they_are_held():
    keyboard = Keyboard()
    assert not any(keyboard.axes().values())
    keyboard.feel(key("D"))
    keyboard.feel(key("S"))
    assert (keyboard.axes()["x"], keyboard.axes()["y"], keyboard.axes()["z"]) == (1, -1, 0)
    keyboard.feel(key("D", down=False))
    assert keyboard.axes()["x"] == 0
    keyboard.feel(key("V", mod=pygame.KMOD_LSHIFT))  # slow, but for the tool
    assert (keyboard.axes()["y"], keyboard.axes()["tool"]) == (-0.2, -1)


@pytest.mark.parametrize("lost", ["WINDOWFOCUSLOST", "JOYDEVICEREMOVED"])
def test_what_is_out_of_reach_moves_nothing(lost):
    keyboard, gamepad = Keyboard(), object.__new__(Gamepad)  # the pad itself is not here, what it says is
    gamepad._let_go()
    for event in (key("D"), key("C")):
        keyboard.feel(event)
    for event in (
        pygame.event.Event(pygame.JOYAXISMOTION, axis=0, value=1.0),
        pygame.event.Event(pygame.JOYAXISMOTION, axis=5, value=1.0),
        pygame.event.Event(pygame.JOYBUTTONDOWN, button=0),
    ):
        gamepad.feel(event)
    moved = gamepad.axes()
    assert {axis: moved[axis] for axis in AXES if moved[axis]} == {"x": 1.0, "z": 1.0, "tool": 1.0}
    gamepad.feel(pygame.event.Event(getattr(pygame, lost)))
    assert not any(gamepad.axes().values())
    if lost == "WINDOWFOCUSLOST":
        keyboard.feel(pygame.event.Event(pygame.WINDOWFOCUSLOST))
        assert not any(keyboard.axes().values())


def test_sticks_are_gentle_near_the_middle():
    pushed = np.linspace(-1.2, 1.2, 101)
    speeds = np.array([eased(value) for value in pushed])
    assert np.all(np.diff(speeds) >= 0)
    assert (speeds[0], speeds[50], speeds[-1]) == (-1, 0, 1)
    assert np.all(np.abs(speeds) <= np.abs(pushed))
    assert speeds == pytest.approx(-speeds[::-1])


def test_an_action_has_the_tasks_own_numbers():
    pushed = {"x": 0.5, "rz": -2.0, "tool": 1.0}
    assert as_action(pushed, ["z", "x", "rz", "jaw"]).tolist() == [0, 0.5, -1, 1]
    assert as_action(pushed, ["x", "gripper"]).dtype == np.float32


def test_who_cannot_steer_is_told(reach, monkeypatch):
    env = make_env(reach)
    with pytest.raises(UserError, match="no gamepad is connected"):
        Operator(env, "gamepad")
    with pytest.raises(UserError, match="no SpaceMouse can be used"):
        Operator(env, "spacemouse")
    pygame.quit()
    monkeypatch.setenv("SDL_VIDEODRIVER", "x11")
    monkeypatch.setenv("DISPLAY", ":987")
    with pytest.raises(UserError, match="no window can be opened"):
        Operator(env, "keyboard")
    with pytest.raises(UserError, match=r"small steps along x, y, z, .* the actions here are"):
        Operator(make_env("ENPIRE/PushT-v0", {"control": "absolute"}), "keyboard")


class Hand(threading.Thread):
    """It sees the window's red tip and green mark, and presses keys until one lies on the other."""

    def __init__(self):
        super().__init__(daemon=True)
        self.done = threading.Event()

    def run(self):
        with contextlib.suppress(pygame.error):  # the window is closed when enough is shown
            self.steer()

    def steer(self):
        while not self.done.wait(0.02):
            surface = pygame.display.get_surface() if pygame.display.get_init() else None
            if surface is None:
                continue
            picture = pygame.surfarray.array3d(surface)[:, :SIDE].astype(int)
            tip, mark = (np.argwhere((picture[..., one] > 120) & (picture[..., 1 - one] < 60)) for one in (0, 1))
            if len(tip) == 0 or len(mark) == 0:
                continue
            aside, down = mark.mean(0) - tip.mean(0)
            near = pygame.KMOD_LSHIFT if np.hypot(aside, down) < 130 else 0
            for far, keys in ((aside, "AD"), (down, "WS")):
                for name, wanted in zip(keys, (far < -12, far > 12), strict=True):
                    pygame.event.post(key(name, down=bool(wanted), mod=near))


@pytest.mark.real_time
def test_a_hand_that_sees_the_window_shows_how(reach, tmp_path):
    hand = Hand()
    hand.start()
    began = time.monotonic()
    try:
        made = record_demos(reach, "keyboard", 2, tmp_path / "mine")
    finally:
        hand.done.set()
        hand.join()
    assert (made["by"], made["episodes"], made["successes"]) == ("keyboard", 2, 2)
    episodes = Episodes(tmp_path / "mine")
    assert all(episode.success for episode in episodes)
    assert time.monotonic() - began > (episodes.steps - 2) / 10  # in real time
    assert np.all(np.abs(episodes[0]["action"]) <= 1)
    assert episodes[0].meta["provenance"]["policy"] == "keyboard"


def test_who_leaves_at_once_leaves_nothing_behind(reach, tmp_path):
    pygame.display.init()
    pygame.event.post(pygame.event.Event(pygame.QUIT))
    with pytest.raises(UserError, match="nothing is kept: ended at the controls"):
        record_demos(reach, "keyboard", 2, tmp_path / "mine")
    assert os.listdir(tmp_path) == []
