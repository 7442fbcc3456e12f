"""Demonstrations by hand: a window that shows the scene in real time, and a keyboard, gamepad or SpaceMouse that moves the robot in it.

A person at the controls is a `station.rollout.Policy` as any other, and sees what a camera shows; so the same code records at a simulated
cell, at the twin and at a robot. What is not held moves nothing: a window that loses the focus and a device that is unplugged let go of
everything.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, ClassVar, Protocol

import cv2
import gymnasium as gym
import numpy as np
from enpire_envs.contract import contract_of, names_of

from autoenvbench.errors import UserError

DEVICES = ("keyboard", "gamepad", "spacemouse")
SIDE = 720  # of the window [px]
SLOW = 0.2  # of full speed, for the last millimetres
DEAD = 0.12  # of a stick's travel that means nothing
#: What a hand can say: motion along and about the axes, and a tool that closes (above 0) or opens.
AXES = ("x", "y", "z", "rx", "ry", "rz", "tool")
#: What tasks call the tool's number.
_TOOLS = ("gripper", "jaw")


class GivenUp(Exception):
    """The person has given this start up."""


class DeviceLost(Exception):
    """There is nothing left to steer with."""


class Device(Protocol):
    """Something to steer with.

    Attributes:
        help: a line that says what does what.
    """

    help: str

    def feel(self, event: Any) -> None:
        """Take notice of one of pygame's events."""

    def axes(self) -> dict[str, float]:
        """How far each of `AXES` is pushed now, in [-1, 1]; what is not named is at rest."""


class Keyboard:
    """Keys that are held move at full speed, with Shift at a fifth of it. They are taken by place, so that layouts do not matter."""

    help = "A D: x   S W: y   F R: z   K I: rx   J L: ry   U O: rz   C V: close, open   Shift: slow"

    def __init__(self) -> None:
        import pygame

        pairs = {"x": "ad", "y": "sw", "z": "fr", "rx": "ki", "ry": "jl", "rz": "uo", "tool": "vc"}
        self._keys = {
            getattr(pygame, f"KSCAN_{key.upper()}"): (axis, sign)
            for axis, keys in pairs.items()
            for key, sign in zip(keys, (-1.0, 1.0), strict=True)
        }
        self._held: set[int] = set()
        self._slow = False

    def feel(self, event: Any) -> None:
        """See `Device`."""
        import pygame

        if event.type == pygame.KEYDOWN:
            self._held.add(event.scancode)
        elif event.type == pygame.KEYUP:
            self._held.discard(event.scancode)
        elif event.type == pygame.WINDOWFOCUSLOST:  # no key will be seen to rise any more
            self._held.clear()
        if event.type in (pygame.KEYDOWN, pygame.KEYUP):
            self._slow = bool(event.mod & pygame.KMOD_SHIFT)

    def axes(self) -> dict[str, float]:
        """See `Device`."""
        found = dict.fromkeys(AXES, 0.0)
        for key in self._held & self._keys.keys():
            axis, sign = self._keys[key]
            found[axis] += sign * (SLOW if self._slow and axis != "tool" else 1.0)
        return found


class Gamepad:
    """The first one that is connected, with the layout of an Xbox controller as SDL numbers it. What is pushed half-way moves at a quarter."""

    help = "left stick: x y   triggers: z   right stick: ry rx   shoulders: rz   A B: close, open   Y: give up"
    _STICKS: ClassVar = {0: ("x", 1.0), 1: ("y", -1.0), 3: ("ry", 1.0), 4: ("rx", -1.0)}
    _TRIGGERS: ClassVar = {2: -1.0, 5: 1.0}  # rest at -1
    _BUTTONS: ClassVar = {0: ("tool", 1.0), 1: ("tool", -1.0), 4: ("rz", -1.0), 5: ("rz", 1.0)}
    GIVE_UP = 3

    def __init__(self) -> None:
        import pygame

        pygame.joystick.init()
        if not pygame.joystick.get_count():
            raise UserError("no gamepad is connected; connect one, or type --by keyboard")
        self._stick = pygame.joystick.Joystick(0)  # it reports as long as somebody holds it
        self._let_go()

    def _let_go(self) -> None:
        self._pushed: dict[int, float] = {}
        self._held: set[int] = set()

    def feel(self, event: Any) -> None:
        """See `Device`."""
        import pygame

        if event.type == pygame.JOYAXISMOTION:
            self._pushed[event.axis] = float(event.value)
        elif event.type == pygame.JOYBUTTONDOWN:
            self._held.add(event.button)
        elif event.type == pygame.JOYBUTTONUP:
            self._held.discard(event.button)
        elif event.type in (pygame.JOYDEVICEREMOVED, pygame.WINDOWFOCUSLOST):
            self._let_go()

    def axes(self) -> dict[str, float]:
        """See `Device`."""
        found = dict.fromkeys(AXES, 0.0)
        for number, (axis, sign) in self._STICKS.items():
            found[axis] += sign * eased(self._pushed.get(number, 0.0))
        for number, sign in self._TRIGGERS.items():
            found["z"] += sign * eased((self._pushed.get(number, -1.0) + 1) / 2)
        for number in self._held & self._BUTTONS.keys():
            axis, sign = self._BUTTONS[number]
            found[axis] += sign
        return found


class SpaceMouse:
    """The first one that is connected. Its cap's six motions are the tool's; its buttons close and open."""

    help = "push and turn the cap   left button: close   right button: open"

    def __init__(self) -> None:
        import pyspacemouse

        try:
            self._mouse = pyspacemouse.open()
        except Exception as error:  # of a library that has several for "not there"
            raise UserError(f"no SpaceMouse can be used: {error}; connect one, or type --by keyboard") from None

    def feel(self, event: Any) -> None:
        """It has no events of pygame's."""

    def axes(self) -> dict[str, float]:
        """See `Device`."""
        try:
            state = self._mouse.read()
        except Exception as error:  # of a library that has several for "unplugged"
            raise DeviceLost(f"the SpaceMouse does not answer any more: {error}") from None
        buttons = [*state.buttons, 0, 0]
        moved = (state.x, state.y, state.z, state.pitch, state.roll, state.yaw)
        return {
            **{axis: eased(value) for axis, value in zip(AXES, moved, strict=False)},
            "tool": float(bool(buttons[0])) - float(bool(buttons[1])),
        }


def eased(value: float) -> float:
    """A stick's deflection in [-1, 1] as a speed: nothing near the middle, then as the square, so that small motions are easy."""
    beyond = max(0.0, min(1.0, abs(value)) - DEAD) / (1 - DEAD)
    return float(np.copysign(beyond**2, value))


def as_action(axes: Mapping[str, float], names: list[str]) -> np.ndarray:
    """What is pushed, as an action whose numbers have these names; (len(names),) float32 in [-1, 1]."""
    wanted = [axes.get("tool" if name in _TOOLS else name, 0.0) for name in names]
    return np.clip(wanted, -1, 1).astype(np.float32)


class Operator:
    """A person who acts. Backspace gives a start up; Escape, or closing the window, ends the recording.

    Attributes:
        over: why there will be no more of it; None: it goes on.

    Args:
        by: one of `DEVICES`.

    Raises:
        UserError: where there is no window or no such device, or where the environment's actions are no small motions.
    """

    def __init__(self, env: gym.Env[Any, Any], by: str) -> None:
        try:
            import pygame
            import pyspacemouse  # noqa: F401
        except ModuleNotFoundError as error:
            raise UserError(
                f"--by {by} needs {error.name}, which is not installed; type: pip install 'autoenvbench[teleop]'"
            ) from None

        names = names_of(env).get("action", [])
        space = env.action_space
        if (
            not isinstance(space, gym.spaces.Box)
            or not names
            or set(names) - {*AXES, *_TOOLS}
            or np.any(space.high != 1)
        ):
            raise UserError(
                f"a hand moves what moves by small steps along x, y, z, rx, ry and rz; the actions here are {names or space}"
            )
        self._env, self._names = env, names
        self.over: str | None = None
        try:
            pygame.display.init()
            self._screen = pygame.display.set_mode((SIDE, SIDE + 48))
        except pygame.error as error:
            raise UserError(
                f"no window can be opened ({error}): run this on a desktop, or set DISPLAY to one"
            ) from None
        made: dict[str, Callable[[], Device]] = {"keyboard": Keyboard, "gamepad": Gamepad, "spacemouse": SpaceMouse}
        self._device = made[by]()
        self._given_up = False
        self._hz, self._steps = contract_of(env).control_hz, 0

    def reset(self, observation: Any) -> None:
        """Show the start, and wait for a first motion: no time passes before it."""
        import pygame

        self._given_up, self._steps = False, 0
        while not self.over and not self._given_up:
            self._show("move to begin")
            if np.any(self._wish()):
                return
            pygame.time.wait(20)

    def act(self, observation: Any) -> np.ndarray:
        """What the hand says now. Raises GivenUp."""
        action = self._wish()
        if self.over or self._given_up:
            raise GivenUp("given up by the person at the controls")
        self._show(f"{self._steps / self._hz:4.1f} s")
        self._steps += 1
        return action

    def close(self) -> None:
        """Close the window. Safe to call twice."""
        import pygame

        pygame.display.quit()

    def _wish(self) -> np.ndarray:
        """Hear what has happened since, and look where everything stands."""
        import pygame

        for event in pygame.event.get():
            self._device.feel(event)
            if event.type == pygame.QUIT or (event.type == pygame.KEYDOWN and event.scancode == pygame.KSCAN_ESCAPE):
                self.over = "ended at the controls"
            elif (event.type == pygame.KEYDOWN and event.scancode == pygame.KSCAN_BACKSPACE) or (
                event.type == pygame.JOYBUTTONDOWN and event.button == Gamepad.GIVE_UP
            ):
                self._given_up = True
        try:
            return as_action(self._device.axes(), self._names)
        except DeviceLost as error:
            self.over = str(error)
            return as_action({}, self._names)

    def _show(self, words: str) -> None:
        import pygame

        frame = self._env.render()
        assert isinstance(frame, np.ndarray)
        canvas = np.zeros((SIDE + 48, SIDE, 3), np.uint8)
        canvas[:SIDE] = cv2.resize(frame, (SIDE, SIDE), interpolation=cv2.INTER_LINEAR)
        for row, line in enumerate((f"{words}   Backspace: give up   Esc: end", self._device.help)):
            cv2.putText(
                canvas, line, (8, SIDE + 18 + 22 * row), cv2.FONT_HERSHEY_SIMPLEX, 0.45, (230, 230, 230), 1, cv2.LINE_AA
            )
        pygame.surfarray.blit_array(self._screen, canvas.swapaxes(0, 1))
        pygame.display.flip()
