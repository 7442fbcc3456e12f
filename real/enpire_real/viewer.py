"""A live 3-D view of a station in a browser (Viser): arms, tool frames, targets, limits, cameras, and why it stands still."""

from __future__ import annotations

import socket
import time
from collections.abc import Callable
from typing import Any

import mujoco
import numpy as np
from scipy.spatial.transform import Rotation

from enpire_real.build import build_station
from enpire_real.cameras import CameraLost
from enpire_real.control import Snapshot
from enpire_real.station import Station
from enpire_real.station_file import StationFile

_RATE_HZ = 15.0
_IMAGE_EVERY = 5  # of the view's frames


class Viewer:
    """Serves the view on a port of this machine; `update` draws the newest state.

    Raises ImportError with what to install, OSError if the port is taken.
    """

    def __init__(self, station: Station, port: int) -> None:
        try:
            import viser
        except ImportError:
            raise ImportError("the 3-D view needs viser: pip install 'autoenvbench[view]'") from None
        self._station = station
        socket.create_server(("127.0.0.1", port)).close()  # viser would take another port without a word
        self._server = viser.ViserServer(host="127.0.0.1", port=port, verbose=False)
        self.url = f"http://127.0.0.1:{self._server.get_port()}"
        view = self._server.initial_camera
        view.position, view.look_at = (1.5, -1.3, 1.2), (0.15, 0.0, 0.2)
        scene = self._server.scene
        scene.set_up_direction("+z")
        scene.add_grid("/table", width=1.6, height=1.6, cell_size=0.1)
        self._model = station.control.monitor.collision.model
        self._data = mujoco.MjData(self._model)
        self._geoms = self._add_geoms(scene)
        self._frames = {
            name: scene.add_frame(f"/{name}/tool", axes_length=0.06, axes_radius=0.002) for name in station.control.arms
        }
        self._targets = {
            name: scene.add_icosphere(f"/{name}/commanded", radius=0.008, color=(230, 120, 20))
            for name in station.control.arms
        }
        for name, box in station.file.safety.workspace.items():
            low, high = np.array(box.low_m), np.array(box.high_m)
            scene.add_box(f"/limits/{name}", dimensions=tuple(high - low), position=tuple((low + high) / 2),
                          color=(90, 160, 220), wireframe=True)  # fmt: skip
        self._frustums: dict[str, Any] = {}
        for name, config in station.file.cameras.items():
            fov = 2 * np.arctan(config.height_px / 2 / config.intrinsics.fy_px)
            self._frustums[name] = scene.add_camera_frustum(
                f"/cameras/{name}", fov=float(fov), aspect=config.width_px / config.height_px, scale=0.08
            )
        self._status = self._server.gui.add_markdown("starting")
        self._drawn = 0

    def _add_geoms(self, scene: Any) -> dict[int, Any]:
        made: dict[int, Any] = {}
        for k in range(self._model.ngeom):
            geom = self._model.geom(k)
            color = tuple(int(255 * c) for c in geom.rgba[:3])
            name = f"/links/{geom.name}"
            if geom.type == mujoco.mjtGeom.mjGEOM_CAPSULE:
                import trimesh

                mesh = trimesh.creation.capsule(height=2 * geom.size[1], radius=geom.size[0])
                mesh.apply_translation([0, 0, -mesh.bounds.mean(axis=0)[2]])
                made[k] = scene.add_mesh_simple(name, np.asarray(mesh.vertices), np.asarray(mesh.faces), color=color)
            elif geom.type == mujoco.mjtGeom.mjGEOM_BOX:
                made[k] = scene.add_box(name, dimensions=tuple(2 * geom.size), color=color)
        return made

    def update(self, q: np.ndarray, snapshot: Snapshot | None) -> None:
        """Draw joint angles (n,) of all arms, and what the control loop says, if it runs."""
        data, model = self._data, self._model
        data.qpos[: len(q)] = snapshot.commanded if snapshot is not None else q
        mujoco.mj_kinematics(model, data)
        for name, ball in self._targets.items():
            ball.position = data.site(f"{name}_tool").xpos.copy()
        data.qpos[: len(q)] = q
        mujoco.mj_kinematics(model, data)
        with self._server.atomic():
            for k, node in self._geoms.items():
                node.position, node.wxyz = data.geom_xpos[k].copy(), _quat(data.geom_xmat[k])
            for name, frame in self._frames.items():
                site = data.site(f"{name}_tool")
                frame.position, frame.wxyz = site.xpos.copy(), _quat(site.xmat)
            for name, frustum in self._frustums.items():
                pose = self._station.camera_pose(name)
                frustum.position, frustum.wxyz = pose.position, pose.quat()
                if self._drawn % _IMAGE_EVERY == 0:
                    try:
                        frustum.image = self._station.cameras[name].latest().image[::2, ::2]
                    except CameraLost:
                        frustum.image = None
        self._drawn += 1
        stop = snapshot.stop if snapshot is not None else None
        state = "reading only, motors off" if snapshot is None else f"**stopped**: {stop}" if stop else "running"
        self._status.content = f"**{self._station.file.name}** ({self._station.kind})  \n{state}"

    def close(self) -> None:
        """Stop serving."""
        self._server.stop()


def watch(
    file: StationFile, port: int, seconds: float | None, on_ready: Callable[[str], None] = lambda url: None
) -> None:
    """Show a station without moving it: motors stay off, joints are read. Until interrupted, or for `seconds`.

    Raises what the drivers raise.
    """
    station = build_station(file)
    viewer: Viewer | None = None
    try:
        for lock in station.locks:
            lock.acquire()
        for camera in station.cameras.values():
            camera.start()
        for arm in station.control.arms.values():
            arm.connect()
        station.clock.sleep(0.3)
        viewer = Viewer(station, port)
        on_ready(viewer.url)
        end = time.monotonic() + (seconds if seconds is not None else float("inf"))
        while time.monotonic() < end:
            q = np.concatenate([arm.read_joints().q for arm in station.control.arms.values()])
            viewer.update(q, None)
            station.clock.sleep(1 / _RATE_HZ)
            if station.clock.virtual:
                time.sleep(1 / _RATE_HZ)
    except KeyboardInterrupt:
        pass
    finally:
        if viewer is not None:
            viewer.close()
        for arm in station.control.arms.values():
            arm.close()
        station.close()


def _quat(matrix: np.ndarray) -> np.ndarray:
    """(w, x, y, z) of MuJoCo's flat rotation matrix (9,)."""
    return Rotation.from_matrix(np.asarray(matrix).reshape(3, 3)).as_quat(scalar_first=True)
