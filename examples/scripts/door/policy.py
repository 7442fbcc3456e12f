"""robosuite's Door from what the cameras show: grasp the lever's end from above, press it down, pull the door along its arc."""

import numpy as np

DOWN = np.array([0.0, 1.0, 0.0, 0.0])  # (w, x, y, z): the hand points down, its fingers close along y
HINGE = 0.43  # from the lever's hub to the hinge [m]: what any such door has, within a few centimetres


def run(tools):
    tools.open_gripper()
    lever = brass(tools)
    along = lever[:, 0]  # the lever points at the robot, along -x
    end, hub = np.percentile(along, 2), np.percentile(along, 98)
    tip = lever[along < end + 0.03]
    grip = np.array([end + 0.02, np.median(tip[:, 1]), np.percentile(tip[:, 2], 60) - 0.025])
    length = max(0.08, hub - 0.02 - grip[0])

    tools.move_eef(grip + np.array([0, 0, 0.12]), DOWN)
    tools.move_eef(grip, DOWN)
    tools.close_gripper()
    for angle in np.linspace(0.3, 1.5, 5):  # the lever turns between the fingers
        tools.move_eef(
            grip + np.array([length * (1 - np.cos(angle)), 0, -length * np.sin(angle)]),
            DOWN,
            tolerance=0.02,
            timeout=1.5,
        )
    pressed = tools.get_robot_state()["position"]
    for angle in np.linspace(0.1, 0.5, 6):
        swing = [HINGE * np.sin(angle) * np.tan(angle / 2), HINGE * np.sin(angle), 0]
        tools.move_eef(pressed + swing, None, tolerance=0.02, timeout=1.5)


def brass(tools):
    """Points (n, 3) of what looks like brass."""
    mask = tools.segment_object("orange brass lever", "agentview")
    depth, k = tools.get_camera_depth("agentview"), tools.get_camera_intrinsics("agentview")
    pose = tools.get_camera_extrinsics("agentview")
    v, u = np.nonzero(mask)
    z = depth[v, u]
    seen = np.stack([(u - k[0, 2]) / k[0, 0] * z, (v - k[1, 2]) / k[1, 1] * z, z], -1)
    return seen @ pose[:3, :3].T + pose[:3, 3]
