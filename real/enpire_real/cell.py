"""`RealCell`: a station joined to the `Cell` contract. It resets by moving things and judges by looking."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Mapping
from typing import Any, Protocol

import cv2
import numpy as np
from enpire_envs.cell import CellFault

from enpire_real.bus import BusDown, BusTaken
from enpire_real.cameras import CameraLost
from enpire_real.control import Stopped
from enpire_real.kinematics import Pose
from enpire_real.motors import MotorFault, ScaleMismatch
from enpire_real.person_stop import HOW_TO_GO_ON
from enpire_real.station import Station

_DURABLE_S = 0.020  # how long whoever stops waits for the disk; the arms do not
_FAULTS = (Stopped, MotorFault, ScaleMismatch, BusDown, BusTaken, CameraLost)


class RealScene(Protocol):
    """One task's skills on a station: how to set it up, drive it, read it.

    Attributes:
        frame: describes the frame of its positions.
        camera_name: the camera that looks at the work, as the station file names it.
        frames: what was seen at each step of the last reset, and at the verdict if there was one, by step: (height, width, 3) uint8.
    """

    frame: str
    camera_name: str
    frames: dict[str, np.ndarray]

    def reset(self, start: dict[str, Any], rng: np.random.Generator) -> None:
        """Bring things and arm to `start`, as well as moving can. What it did not reach, `read` shows."""

    def drive(self, command: np.ndarray) -> None:
        """Track the command for one control period."""

    def read(self) -> Any:
        """The task's readings, now."""

    def view(self, camera: str) -> np.ndarray | None:
        """The image that a policy sees under this name, or None for the camera's own."""

    def camera_pose(self, camera: str) -> Pose | None:
        """Pose of a camera's optical frame in the scene's frame, or None where nothing has measured it."""

    @property
    def probes(self) -> Mapping[str, Callable[[], None]]:
        """What the verifier may do, by name."""

    def home(self) -> None:
        """All arms to their home pose, from wherever the work left them."""

    def avoid(self) -> None:
        """All arms out of the cameras' view of the work."""

    def resume(self) -> None:
        """The working arm back to the work, where it may move on."""


class PersonNeeded(CellFault):
    """A person has to do something before the station can go on; the message says what."""


class RealCell:
    """A physical station, or the twin. Nothing starts before the first `reset`.

    Every fault of the station (a stop of the safety monitor, a motor, a bus, a camera) is a `CellFault`: the episode is over, and
    the next reset acknowledges it. A stop by a person is acknowledged by a person alone.
    """

    def __init__(self, station: Station, scene: RealScene) -> None:
        self.station, self.scene = station, scene
        self.kind = station.kind
        self._started = False
        self.resets = 0  # that were tried
        self.most_resets: int | None = None  # that `resets` may come to
        self._requests: list[str] = []  # to people, that nobody has been told of yet
        self.run_over = False

    @property
    def stopped_by_person(self) -> bool:
        """Whether a person's stop holds."""
        stop = self.station.control.monitor.stop
        return stop is not None and stop.person

    def reset(self, start: dict[str, Any], rng: np.random.Generator) -> None:
        """Acknowledge a stop that is no person's, then set the scene up. Raises CellFault, and beyond `most_resets` without moving."""
        if self.most_resets is not None and self.resets >= self.most_resets:
            raise CellFault("the scene was not ready after the last attempt that is allowed")
        self.resets += 1
        self._guard(self._reset, start, rng)

    def _reset(self, start: dict[str, Any], rng: np.random.Generator) -> None:
        self._check_run_goes_on()
        self.start()
        self._acknowledge_stop()
        self.scene.reset(start, rng)

    def start(self) -> None:
        """Switch the station on, if it is not."""
        if not self._started:
            self.station.start()
            self._started = True

    def apply(self, command: np.ndarray) -> None:
        """Raises ValueError for a NaN or an infinity, CellFault."""
        if not np.isfinite(command).all():
            raise ValueError(f"the command {command} is not finite; nothing was sent")
        self._check_run_goes_on()
        self._guard(self.scene.drive, command)

    def read(self) -> Any:
        """The scene's readings, now. Raises CellFault."""
        return self._guard(self.scene.read)

    def probe(self, name: str) -> Any:
        """Act once for the verifier, then read. Raises ValueError for an unknown name, CellFault."""
        try:
            act = self.scene.probes[name]
        except KeyError:
            raise ValueError(
                f"this cell has no probe {name!r}; it has: {', '.join(sorted(self.scene.probes))}"
            ) from None
        self._guard(act)
        return self.read()

    def frame(self, camera: str, width: int, height: int) -> np.ndarray:
        """The image that a policy sees under this name, (height, width, 3) uint8 RGB. Raises ValueError for an unknown camera, CellFault."""
        image = self._guard(self.scene.view, camera)
        if image is None:
            image = self.camera_frame(camera)
        return cv2.resize(image, (width, height), interpolation=cv2.INTER_AREA)

    def camera_frame(self, camera: str) -> np.ndarray:
        """A camera's own newest image (height, width, 3) uint8. Raises ValueError for an unknown one."""
        try:
            found = self.station.cameras[camera]
        except KeyError:
            known = ", ".join(self.station.cameras) or "none"
            raise ValueError(f"this station has no camera {camera!r}; it has: {known}") from None
        self._guard(self.start)
        return self._guard(found.latest).image

    def ask_person(self, request: str) -> None:
        """Remember that a person is asked for something."""
        self._requests.append(request)

    def take_requests(self) -> list[str]:
        """What people have been asked for since this was last called."""
        taken, self._requests = self._requests, []
        return taken

    def evidence(self) -> dict[str, np.ndarray]:
        """The newest image of every camera, by name, those that are lost left out; and as `reset_STEP` and `verdict` what was seen when the
        scene was set up and judged."""
        seen = {what if what == "verdict" else f"reset_{what}": image for what, image in self.scene.frames.items()}
        for name, camera in self.station.cameras.items():
            with contextlib.suppress(CameraLost):
                seen[name] = camera.latest().image
        return seen

    def show(self) -> None:
        """The station's 3-D view runs by itself (`autoenvbench station watch`)."""

    def move(self, where: str) -> None:
        """ "home", "avoid" or "resume". Raises CellFault."""
        self._check_run_goes_on()
        self._guard(self.start)
        self._guard(self._acknowledge_stop)
        self._guard({"home": self.scene.home, "avoid": self.scene.avoid, "resume": self.scene.resume}[where])

    def _check_run_goes_on(self) -> None:
        if self.run_over:
            raise CellFault("the run is over: the arms are on their way to rest")

    def _acknowledge_stop(self) -> None:
        """Acknowledge a stop, if there is one. Raises Stopped if it is a person's."""
        self.station.control.check_person_stops()
        if self.station.control.monitor.stop is not None:
            self.station.clock.sleep(0.2)  # a camera that has just come back needs a frame or two
            self.station.control.acknowledge()

    def stop(self, by: str, *, person: bool) -> bool:
        """Stop the arms, from any thread, at once. A person's stop holds until a person acknowledges it.

        Returns whether it would survive the end of this process already.
        """
        if not person:
            self.station.control.stop("stopped_by_agent", by)
            return False
        written = self.station.stops.press(by, "stopped by hand")
        self.station.control.stop("stopped_by_person", f"{by}; {HOW_TO_GO_ON}", person=True)
        return written.wait(_DURABLE_S)

    def acknowledge(self, by: str) -> list[str]:
        """A person says that work may go on: with the next reset or move, nothing moves now. Returns what was acknowledged.

        Raises CellFault while the emergency stop is pressed, OSError.
        """
        pressed = self.station.control.monitor.watches["emergency_stop"](self.station.clock.now())
        if pressed is not None:
            raise CellFault(f"{pressed}: release it first, then acknowledge")
        ended = self.station.stops.acknowledge(by)
        self.station.control.check_person_stops()
        return ended

    def end(self) -> None:
        """Whatever is under way is over, from any thread: the arms brake, and move again only to be folded down."""
        self.run_over = True
        self.station.control.stop("run_over", "the run is over")

    def park(self) -> str | None:
        """Fold the arms down, after a fault as well; returns why not, if not."""
        try:
            if self._started:
                self._acknowledge_stop()
                self.scene.home()
                self.station.park()
        except _FAULTS as fault:
            return str(fault)
        return None

    def close(self) -> None:
        """Fold the arms down and let go of everything; says why, where they cannot be folded."""
        if self._started:
            try:
                self._acknowledge_stop()
                self.scene.home()  # clear of its work, before it folds
            except _FAULTS:
                pass  # the station's own close says what could not be done
        self.station.close()
        self._started = False

    def _guard(self, act: Callable[..., Any], *args: Any) -> Any:
        try:
            return act(*args)
        except _FAULTS as fault:
            raise CellFault(str(fault)) from fault
