"""RoboCasa's OpenDrawer from what the cameras show: find the bar that stands out from the drawer's front, grasp it from the
front, drive backwards."""

import numpy as np

FRONT = np.array([0.5, 0.5, 0.5, 0.5])  # (w, x, y, z): the hand points forward, its fingers close up and down


def run(tools):
    tools.open_gripper()
    side = "left" if "left" in tools.get_task_description() else "right"
    handle = find_handle(tools, side) if "get_camera_depth" in tools else guess_handle(tools, side)
    approach(tools, handle - np.array([0.14, 0, 0]))
    tools.move_eef(handle + np.array([0.005, 0, 0]), FRONT, timeout=4)
    tools.close_gripper()
    tools.move_base(-0.55, 0.0, timeout=14)


def approach(tools, before):
    """Around what stands in the way where there is a planner, else by way of a point that is clear of the counter's edge."""
    if "refresh_planner_world" in tools:
        tools.refresh_planner_world()
        try:
            if tools.freespace_move(before, FRONT)["reached"]:
                return
        except tools.ToolError as error:
            print(error)
    tools.move_eef([before[0], before[1] * 0.8, 0.35], FRONT, tolerance=0.03)
    tools.move_eef(before, FRONT, timeout=5)


def guess_handle(tools, side):
    """Without cameras: where handles tend to be, and how far, if a model may be asked."""
    ahead = 0.28
    if "vlm_query" in tools:
        answer = tools.vlm_query("How many centimetres ahead of the robot's base is the drawer's handle? One number.")
        digits = "".join(c for c in answer if c.isdigit() or c == ".")
        ahead = min(max(float(digits or 28) / 100, 0.2), 0.4)
    return np.array([ahead, 0.5 if side == "left" else -0.5, 0.085])


def find_handle(tools, side):
    """Middle (3,) of the bar on that side, from both cameras."""
    cloud = np.concatenate([points(tools, "agentview_left"), points(tools, "agentview_right")])
    x, y, z = cloud.T
    y = y if side == "left" else -y
    front = cloud[(y > 0.3) & (y < 0.75) & (z > -0.05) & (z < 0.17) & (x > 0.2) & (x < 0.6)]
    counts, edges = np.histogram(front[:, 0], bins=np.arange(0.2, 0.6, 0.01))
    plane = edges[np.argmax(counts)]
    bar = front[
        (front[:, 0] < plane - 0.015) & (front[:, 0] > plane - 0.08) & (front[:, 2] > 0.03) & (front[:, 2] < 0.14)
    ]
    if len(bar) < 5:
        raise tools.ToolError("no bar stands out from the drawer's front")
    low, high = np.percentile(bar, [5, 95], axis=0)
    return np.array([low[0] + 0.013, (low[1] + high[1]) / 2, (low[2] + high[2]) / 2])


def points(tools, camera):
    """What a camera sees, (n, 3)."""
    depth, k = tools.get_camera_depth(camera), tools.get_camera_intrinsics(camera)
    pose = tools.get_camera_extrinsics(camera)
    v, u = np.mgrid[: depth.shape[0], : depth.shape[1]]
    seen = np.stack([(u - k[0, 2]) / k[0, 0] * depth, (v - k[1, 2]) / k[1, 1] * depth, depth], -1)
    return seen.reshape(-1, 3) @ pose[:3, :3].T + pose[:3, 3]
