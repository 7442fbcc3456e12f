"""The station file: what a station is made of, where its parts stand and what they may do. Units are in the names.

Two examples ship with the package: `twin.yaml`, which needs no hardware, and `yam_pair.yaml`. What a task needs to know of a station
is in a section of its own under `tasks`, whose model the task brings (`enpire_real.tasks`).
"""

from __future__ import annotations

import os
from pathlib import Path
from typing import Annotated, Any, Literal, TypeVar

import yaml
from pydantic import (
    AfterValidator,
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    SerializeAsAny,
    ValidationError,
    model_validator,
)
from pydantic_core import InitErrorDetails

from enpire_real.tasks import find_task, find_tool, known_tasks
from enpire_real.yam import JOINTS

TWIN_FILE = Path(__file__).with_name("twin.yaml")
EMPTY_TABLE = "empty"  # the twin's `scene` with nothing on the table
Vector = Annotated[list[float], Field(min_length=3, max_length=3)]
Six = Annotated[list[float], Field(min_length=6, max_length=6)]
PerJoint = Annotated[list[float], Field(min_length=6, max_length=8)]  # arms with fewer joints use the first
Quat = Annotated[list[float], Field(min_length=4, max_length=4)]
ToolName = Annotated[str, AfterValidator(lambda name: find_tool(name).name)]


class StationError(ValueError):
    """A station file that cannot be used; says where and what to write instead."""


class StrictModel(BaseModel):
    """Immutable, and an unknown key is an error: a misspelt limit must not be a limit that is not there."""

    model_config = ConfigDict(extra="forbid", frozen=True)


class Bus(StrictModel):
    """A CAN bus as python-can opens it."""

    interface: Literal["socketcan", "slcan", "virtual"]
    channel: str  # can0; /dev/ttyACM0; any word


class MotorScale(StrictModel):
    """A motor's own full scale, where it differs from its type's."""

    p_max_rad: float
    v_max_rad_s: float
    t_max_nm: float


class YamArm(StrictModel):
    """A YAM arm on a CAN bus of its own."""

    type: Literal["yam"] = "yam"
    bus: Bus
    base_m: Vector
    tool: ToolName = "none"
    kp_nm_per_rad: Six = [j.kp for j in JOINTS]
    kd_nm_s_per_rad: Six = [j.kd for j in JOINTS]
    friction_nm: Six = [0.8 * j.friction for j in JOINTS]  # fed forward; less than it is, or it would push by itself
    gravity_factor: Six = [1.0, 1.1, 1.1, 1.2, 1.0, 1.0]
    gripper_torque_nm: float = Field(default=0.5, gt=0, le=3.0)
    watchdog_ms: float = Field(default=100.0, ge=20, le=400)
    scales: dict[Literal["joint1", "joint2", "joint3", "joint4", "joint5", "joint6", "gripper"], MotorScale] = {}


class LeRobotArm(StrictModel):
    """Any LeRobot robot as an arm: its own driver moves it, our loop and monitor command it by position."""

    type: Literal["lerobot"]
    robot: dict[str, Any]  # LeRobot's own configuration, with its `type`
    base_m: Vector
    joints: list[str] = Field(min_length=1)  # action keys without ".pos", base to tip
    units: Literal["degrees", "radians"] = "degrees"
    sign: list[float] = []
    offset_rad: list[float] = []
    gripper: str | None = None
    mjcf: Path  # kinematics: joints in the order of `joints`, and a site `tool`

    @model_validator(mode="after")
    def check_lengths(self) -> LeRobotArm:
        """One value for each joint, or none."""
        for name in ("sign", "offset_rad"):
            given = getattr(self, name)
            if given and len(given) != len(self.joints):
                raise ValueError(f"`{name}` has {len(given)} values for {len(self.joints)} joints")
        return self


class Intrinsics(StrictModel):
    """A pinhole camera with the distortion model of OpenCV."""

    fx_px: float = Field(gt=0)
    fy_px: float = Field(gt=0)
    cx_px: float
    cy_px: float
    distortion: list[float] = [0.0, 0.0, 0.0, 0.0, 0.0]


class Camera(StrictModel):
    """A camera's pose is that of its optical frame (x right, y down, z forward) in `mount`'s frame."""

    type: Literal["twin", "opencv", "lerobot"]
    width_px: int = Field(ge=16, le=4096)
    height_px: int = Field(ge=16, le=4096)
    fps_hz: float = Field(gt=0, le=240)
    mount: str = "station"  # or an arm, whose flange carries it
    position_m: Vector
    quat_wxyz: Quat
    intrinsics: Intrinsics
    calibrated: str | None = None  # when and how well; None: nominal numbers
    required: bool = False  # the arms stop when it does
    source: int | str | None = None  # opencv: index, device or video file
    lerobot: dict[str, Any] | None = None  # lerobot: its own configuration, with its `type`

    @model_validator(mode="after")
    def check_source(self) -> Camera:
        """Each type of camera has its own way to be found."""
        if self.type == "opencv" and self.source is None:
            raise ValueError("an opencv camera needs `source`: an index such as 0, or /dev/video0")
        if self.type == "lerobot" and not self.lerobot:
            raise ValueError("a lerobot camera needs `lerobot`: its configuration, with its `type`")
        return self


class Box(StrictModel):
    """An axis-parallel box in the station's frame."""

    low_m: Vector
    high_m: Vector


class EmergencyStop(StrictModel):
    """How the software sees the button (the button itself must cut the motors' power)."""

    type: Literal["none", "file", "twin"]
    path: Path | None = None  # file: pressed while it exists, or cannot be looked at

    @model_validator(mode="after")
    def check_path(self) -> EmergencyStop:
        """A file has a path."""
        if self.type == "file" and self.path is None:
            raise ValueError("emergency_stop of type file needs `path`")
        return self


class Safety(StrictModel):
    """Limits of the monitor; per joint, base to tip. Nothing above the station can change them."""

    velocity_rad_s: PerJoint = [4.0, 4.0, 4.0, 6.0, 6.0, 6.0]
    acceleration_rad_s2: PerJoint = [80.0, 80.0, 80.0, 150.0, 150.0, 150.0]
    torque_nm: PerJoint = [20.0, 24.0, 20.0, 8.0, 6.0, 6.0]
    tracking_rad: PerJoint = [0.25, 0.25, 0.25, 0.35, 0.4, 0.4]
    workspace: dict[str, Box]
    arm_margin_m: float = Field(default=0.008, ge=0)
    table_margin_m: float = Field(default=0.020, ge=0)
    tool_table_margin_m: float = Field(default=0.002, ge=0)
    temperature_c: float = Field(default=80.0, le=100)
    feedback_age_ms: float = Field(default=50.0, gt=0, le=100)
    camera_age_ms: float = Field(default=90.0, gt=0, le=500)
    emergency_stop: EmergencyStop


class TaskSection(StrictModel):
    """What a task has to know of a station. Each task has its own; see `enpire_real.tasks.TaskKit.section`."""

    def check_references(self, file: StationFile) -> None:
        """Raises ValueError for the name of an arm or a camera that the station does not have."""


def _parse_sections(sections: Any) -> Any:
    """Each section by the model of its task. Raises ValidationError with the place of each wrong value."""
    if not isinstance(sections, dict):
        return sections
    parsed: dict[str, Any] = {}
    errors: list[InitErrorDetails] = []
    for name, section in sections.items():
        if name not in known_tasks():
            raise ValueError(f"unknown task {name!r}; known: {', '.join(known_tasks())}")
        try:
            parsed[name] = find_task(name).section.model_validate(section)
        except ValidationError as error:
            errors += [
                InitErrorDetails(type=e["type"], loc=(name, *e["loc"]), input=e["input"], ctx=e.get("ctx", {}))
                for e in error.errors()
            ]
    if errors:
        raise ValidationError.from_exception_data("tasks", errors)
    return parsed


S = TypeVar("S", bound=TaskSection)


class TwinConfig(StrictModel):
    """The simulated station's own settings."""

    seed: int = 0
    time: Literal["virtual", "real"] = "virtual"
    noise: float = Field(default=2.0, ge=0)  # of the cameras, standard deviation in grey levels
    latency_ms: float = Field(default=20.0, ge=0)
    scene: str = "empty"  # the task whose things lie on the table, or `empty`
    board: str | None = None  # where the calibration board is: on the `table`, or in an arm's hand
    ideal: bool = False  # exactly as drawn: no deviations of friction, gains, cameras
    link: Path | None = None  # the folder of a twin that runs in a process of its own (`autoenvbench station twin`)


class StationFile(StrictModel):
    """A whole station."""

    name: str = Field(pattern=r"^[A-Za-z0-9_-]{1,40}$")
    kind: Literal["twin", "physical"]
    rate_hz: float = Field(default=100.0, ge=50, le=500)
    twin: TwinConfig | None = None
    arms: dict[str, Annotated[YamArm | LeRobotArm, Field(discriminator="type")]] = Field(min_length=1)
    cameras: dict[str, Camera] = {}
    safety: Safety
    tasks: Annotated[dict[str, SerializeAsAny[TaskSection]], BeforeValidator(_parse_sections)] = {}

    @model_validator(mode="after")
    def check_references(self) -> StationFile:
        """What one part of the file says of another must be so."""
        if (self.kind == "twin") != (self.twin is not None):
            raise ValueError("a station of kind twin has a `twin` section, and a physical one has none")
        if self.kind == "twin" and set(self.arms) != {"left", "right"}:
            raise ValueError("the twin has two arms, left and right")
        lacking = sorted(set(self.arms) - set(self.safety.workspace))
        if lacking:
            raise ValueError(f"safety.workspace has no box for: {', '.join(lacking)}")
        longest = max((len(a.joints) for a in self.arms.values() if isinstance(a, LeRobotArm)), default=6)
        limits = self.safety
        if (
            min(map(len, (limits.velocity_rad_s, limits.acceleration_rad_s2, limits.torque_nm, limits.tracking_rad)))
            < longest
        ):
            raise ValueError(f"safety's limits per joint need {longest} values: an arm has so many joints")
        channels = [(a.bus.interface, a.bus.channel) for a in self.arms.values() if isinstance(a, YamArm)]
        if len(set(channels)) != len(channels):
            raise ValueError("two arms are on one bus; each YAM needs a bus of its own (its motors' ids are the same)")
        for name, camera in self.cameras.items():
            if camera.mount != "station" and camera.mount not in self.arms:
                raise ValueError(f"camera {name} is mounted on {camera.mount!r}; write station or an arm's name")
            if camera.type == "twin" and self.kind != "twin":
                raise ValueError(f"camera {name} is the twin's, but this station is physical")
        inside = self.twin is not None and self.twin.link is None
        if not inside and self.safety.emergency_stop.type == "twin":
            raise ValueError("a physical station's emergency_stop is `file` (or `none`, if no software sees it)")
        if inside and any(a.bus.interface != "virtual" for a in self.arms.values() if isinstance(a, YamArm)):
            raise ValueError("a twin in this process is on `virtual` buses; with `slcan` say where it runs: twin.link")
        for name, section in self.tasks.items():
            try:
                section.check_references(self)
            except ValueError as error:
                raise ValueError(f"tasks.{name}: {error}") from None
        if self.twin is not None and self.twin.scene not in (EMPTY_TABLE, *self.tasks):
            scenes = ", ".join((EMPTY_TABLE, *self.tasks))
            raise ValueError(
                f"twin.scene is {self.twin.scene!r}; write one of: {scenes} (a scene needs its section in `tasks`)"
            )
        return self

    def section(self, name: str, model: type[S]) -> S:
        """A task's section. Raises StationError if the file has none."""
        section = self.tasks.get(name)
        if not isinstance(section, model):
            raise StationError(
                f"the station file of {self.name!r} has no `tasks.{name}` section, which {name} needs: {find_task(name).twin or TWIN_FILE} "
                "has one to copy (`autoenvbench station init FILE` writes a file to put it into)"
            )
        return section


def with_scene(file: StationFile, task: str) -> StationFile:
    """The file with a task's things on the twin's table, as a person would lay them there; a physical station's, a linked twin's
    and a file without a section for the task stay as they are."""
    if file.twin is None or file.twin.link is not None or task not in file.tasks:
        return file
    return file.model_copy(update={"twin": file.twin.model_copy(update={"scene": task})})


def load_station(path: Path | str | None = None) -> StationFile:
    """Read a station file; None for the twin that ships with the package. Raises StationError."""
    path = Path(path) if path is not None else TWIN_FILE
    try:
        text = path.read_text()
    except OSError as error:
        raise StationError(
            f"cannot read the station file {path}: {error.strerror}; `autoenvbench station init {path}` writes one"
        ) from None
    except UnicodeDecodeError:
        raise StationError(f"{path} is not a station file but binary; `autoenvbench station init` writes one") from None
    return parse_station(text, str(path))


def parse_station(text: str, where: str = "the station file") -> StationFile:
    """Raises StationError with each wrong line's place."""
    try:
        data = yaml.safe_load(text)
    except yaml.YAMLError as error:
        raise StationError(f"{where} is not YAML: {error}") from None
    if not isinstance(data, dict):
        raise StationError(f"{where} is empty; `autoenvbench station init` writes an example")
    try:
        return StationFile.model_validate(data)
    except ValidationError as error:
        lines = [
            f"  {'.'.join(map(str, e['loc'])) or 'station'}: {e['msg'].removeprefix('Value error, ')}"
            for e in error.errors()
        ]
        raise StationError(f"{where} cannot be used:\n" + "\n".join(lines)) from None


def default_station() -> Path | None:
    """The station file that AUTOENVBENCH_STATION names, if it is set."""
    named = os.environ.get("AUTOENVBENCH_STATION")
    return Path(named) if named else None
