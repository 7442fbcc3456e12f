"""robosuite's Lift from what the cameras show: find the cube, grasp it from above, lift it."""

import numpy as np


def run(tools):
    tools.open_gripper()
    look(tools)
    grasp = tools.sample_grasp_pose("red cube", "agentview")[0]
    above = grasp["position"] + np.array([0, 0, 0.10])
    tools.move_eef(above, grasp["quaternion"])
    tools.move_eef(grasp["position"], grasp["quaternion"])
    if not tools.close_gripper()["holding"]:
        tools.open_gripper()
        tools.move_eef(above)
        position = tools.detect_object("red cube", "agentview")[0]["position"]
        tools.move_eef(position + np.array([0, 0, -0.005]))
        tools.close_gripper()
    tools.nudge([0, 0, 0.10])


def look(tools):
    """The task's own words go into the log."""
    print(tools.get_task_description(), "frame:", tools.get_robot_state()["position"])
