"""Run by the simulators' own interpreter: does each task's predicate turn true when its goal is brought about?

``python goals.py SUITE_FOLDER TASK ...`` prints one JSON object a task. "robosuite:Lift" is robosuite's, a bare name RoboCasa's.
"""

import importlib.util
import inspect
import json
import sys
from pathlib import Path

folder = Path(sys.argv[1])
spec = importlib.util.spec_from_file_location(
    "enpire_envs", folder / "__init__.py", submodule_search_locations=[str(folder)]
)
sys.modules["enpire_envs"] = importlib.util.module_from_spec(spec)
spec.loader.exec_module(sys.modules["enpire_envs"])

import numpy as np  # noqa: E402
from enpire_envs.simulators.robocasa_env import RoboCasaTask  # noqa: E402
from enpire_envs.simulators.robosuite_env import RobosuiteTask  # noqa: E402
from robosuite.controllers.composite.composite_controller import CompositeController  # noqa: E402


def place(env, joint, position, settle=25):
    """Put a free body somewhere and let it come to rest, the hand kept away."""
    pose = env.sim.data.get_joint_qpos(joint).copy()
    pose[:3] = position
    env.sim.data.set_joint_qpos(joint, np.concatenate([pose[:3], [1, 0, 0, 0]]))
    env.sim.data.set_joint_qvel(joint, np.zeros(6))
    env.sim.forward()
    for _ in range(settle):
        env.sim.step()


def body(env, name):
    return env.sim.data.body_xpos[env.obj_body_id[name]].copy()


def joint(env, name, value):
    env.sim.data.set_joint_qpos(name, value)


def slide_out(env):
    name = next(n for n in env.sim.model.joint_names if n.startswith(env.drawer.name) and "slide" in n)
    joint(env, name, env.sim.model.jnt_range[env.sim.model.joint_name2id(name)][0])


def into_cabinet(env):
    corners = next(iter(env.cab.get_int_sites(relative=False).values()))
    middle = (np.array(corners[1]) + np.array(corners[2])) / 2
    place(env, env.objects["obj"].joints[0], [middle[0], middle[1], corners[0][2] + 0.06])


def under_spout(env):
    site = env.sim.data.get_site_xpos(f"{env.coffee_machine.naming_prefix}receptacle_place_site")
    place(env, env.objects["obj"].joints[0], site + np.array([0, 0, 0.06]))


GOALS = {
    "OpenCabinet": lambda env: env.fxtr.open_door(env=env),
    "PickPlaceSinkToCounter": lambda env: place(
        env, env.objects["obj"].joints[0], body(env, "container") + np.array([0, 0, 0.06])
    ),
    "TurnOnSinkFaucet": lambda env: env.sink.set_handle_state(mode="on", env=env, rng=np.random.default_rng(0)),
    "OpenDrawer": slide_out,
    "OpenStandMixerHead": lambda env: env.stand_mixer.set_head_pos(env, 1.0),
    "TurnOffStove": lambda env: env.stove.set_knob_state(
        mode="off", knob=env.knob, env=env, rng=np.random.default_rng(0)
    ),
    "PickPlaceCounterToCabinet": into_cabinet,
    "CoffeeSetupMug": under_spout,
    "robosuite:Lift": lambda env: place(
        env, env.cube.joints[0], env.sim.data.body_xpos[env.cube_body_id] + [0, 0, 0.2], 1
    ),
    "robosuite:Door": lambda env: joint(env, env.door.joints[0], 0.35),
    "robosuite:Stack": lambda env: place(
        env, env.cubeA.joints[0], env.sim.data.body_xpos[env.cubeB_body_id] + [0, 0, 0.05]
    ),
    "robosuite:NutAssemblySquare": lambda env: place(
        env, env.nuts[0].joints[0], env.sim.data.body_xpos[env.peg1_body_id] + [0, 0, 0.02], 1
    ),
}

_LIMITS = inspect.getattr_static(CompositeController, "action_limits")
for name in sys.argv[2:]:
    suite, _, plain = name.rpartition(":")
    task = RobosuiteTask(task=plain) if suite else RoboCasaTask(task=plain, standin=True)
    starts = [task.env.sim.get_state().flatten()]  # as it was made, which is another start
    for _ in range(2):
        task.reset(11, None, task.limit)
        starts.append(task.env.sim.get_state().flatten())
    before = task.solved()
    GOALS[name](task.env)
    task.env.sim.forward()
    task.env.update_state()
    after = task.solved()
    # What `robosuite_env` keeps of a controller is what robosuite would work out anew.
    controllers = [robot.composite_controller for robot in task.env.robots]
    kept = all(np.array_equal(c.__dict__["action_limits"], _LIMITS.func(c)) for c in controllers)
    held = [task.solved() for _ in range(5) if task.step(np.zeros(len(task.low))) is not None]
    repeats = starts[1].shape == starts[2].shape and bool(np.array_equal(starts[1], starts[2]))
    others = starts[0].shape != starts[1].shape or not np.array_equal(starts[0], starts[1])
    print(
        json.dumps(
            {
                "task": name,
                "before": before,
                "after": after,
                "held": sum(held),
                "repeats": repeats,
                "others": others,
                "limits": kept,
            }
        ),
        flush=True,
    )
