"""What a station asks of an environment: our own answer, one that says nothing has defaults, one that lies is refused by name."""

import enpire_envs
import gymnasium as gym
import numpy as np
import pytest
from conftest import judge
from enpire_envs.contract import ContractError, PlainEnv, contract_of, step_limit
from enpire_envs.pusht.env import PushTEnv
from enpire_envs.task import ALL_OBS_TYPES
from enpire_envs.time_limit import StepLimit
from gymnasium.envs.classic_control.pendulum import PendulumEnv
from gymnasium.wrappers import TimeLimit

from autoenvbench.errors import UserError
from autoenvbench.station.bundles import Bundle
from autoenvbench.station.cell import LocalCell
from autoenvbench.station.rollout import run_episode
from autoenvbench.station.script_rollout import tools_body
from autoenvbench.study.policies import RandomPolicy


class Upright(PendulumEnv):
    """Gymnasium's pendulum with a verdict, and nothing else that a station asks for."""

    def step(self, action):
        observation, reward, terminated, truncated, info = super().step(action)
        return observation, float(reward), terminated, truncated, {**info, "success": bool(observation[0] > 0.99)}


def make_pusher(env):
    """A policy that moves the T."""
    from enpire_envs.pusht.reference import Naive

    return Naive(env)


def plain(cls=Upright, steps=40):
    return TimeLimit(cls(render_mode="rgb_array"), steps)


@pytest.mark.parametrize("env_id", enpire_envs.ENV_IDS)
def test_our_environments_say_what_they_are(env_id):
    env = gym.make(env_id, disable_env_checker=True)
    contract = contract_of(env)
    assert contract is env.unwrapped
    assert (contract.kind, contract.in_process, contract.real_cell) == ("sim", True, None)
    assert len(set(contract.stages)) == len(contract.stages) >= 2
    body = contract.tools_body()
    if env.unwrapped.task.obs_types == ALL_OBS_TYPES:
        assert body.cameras
    else:  # cameras whose poses are known, and depth, would tell what the level hides
        assert body is None
    assert contract.identity()["versions"].keys() == {"mujoco"}
    _, info = env.reset(seed=0)
    assert contract.finish() == info
    with pytest.raises(gym.error.ResetNeeded):
        env.step(np.zeros(env.action_space.shape))
    env.close()


def test_a_twin_has_arms_that_a_person_may_stop(twin_env):
    contract = contract_of(twin_env)
    assert (contract.kind, contract.in_process) == ("twin", False)
    assert contract.real_cell.station.kind == "twin"


def test_an_environment_that_says_nothing_has_defaults():
    env = plain()
    contract = contract_of(env)
    assert isinstance(contract, PlainEnv)
    assert (contract.kind, contract.control_hz, contract.act_cpu_ms, contract.real_cell) == ("sim", 30, 250, None)
    assert step_limit(env) == 40
    outcome = run_episode(env, RandomPolicy(env.action_space, 0), 3)
    assert (outcome.steps, outcome.cell, outcome.success, outcome.reason) == (40, "sim", False, "time_limit")
    with pytest.raises(UserError, match="has no tools"):
        tools_body(env)


def test_a_plain_environment_is_evaluated_and_its_starts_are_its_seeds(ledger):
    env = plain()
    cell = LocalCell(env, sandbox="none", track="open", policy=RandomPolicy(env.action_space, 0))
    bundle = Bundle("random", "random", "", None)
    tally = judge(cell, ledger, bundle, "score", 2, attempts=2)
    assert len(tally.counted) == 4
    with pytest.raises(UserError, match="takes no named starts"):
        judge(cell, ledger, bundle, "score", 1, named=[{"seed": 7}])


def test_an_environment_without_a_limit_or_a_verdict_is_refused(ledger):
    with pytest.raises(ContractError, match="has no time limit"):
        step_limit(Upright())
    env = plain(PendulumEnv)
    cell = LocalCell(env, sandbox="none", track="open", policy=RandomPolicy(env.action_space, 0))
    with pytest.raises(UserError, match="without `success`"):
        judge(cell, ledger, Bundle("random", "random", "", None), "score", 1)


@pytest.mark.parametrize(
    ("attribute", "value", "expected"),
    [
        ("kind", "robot", "one of sim, twin, real, stand-in"),
        ("kind", "real", "twins and real cells have one"),
        ("control_hz", 0, "above 0 Hz"),
        ("limit", 300, "a StepLimit"),
        ("act_cpu_ms", float("inf"), "above 0"),
        ("stages", "success", "names of stages"),
        ("in_process", "yes", "True or False"),
        ("reset_options", None, "names of reset options"),
        ("finish", None, "a method"),
        ("tools_body", None, "a method"),
    ],
)
def test_an_environment_that_misstates_a_part_is_refused_by_its_name(attribute, value, expected):
    class Lying(PushTEnv):
        limit = None  # what `__init__` sets is taken as it comes

        def __setattr__(self, name, given):
            object.__setattr__(self, name, value if name == attribute else given)

    if attribute != "limit":
        setattr(Lying, attribute, value)
    with pytest.raises(ContractError) as refused:
        contract_of(Lying())
    assert attribute in str(refused.value)
    assert expected in str(refused.value)


def test_an_environment_that_lacks_a_part_is_refused_by_its_name():
    class Lacking(Upright):
        kind, control_hz, limit, act_cpu_ms, stages = "sim", 20.0, StepLimit(200), 250.0, ("success",)

        def identity(self):
            return {}

    with pytest.raises(ContractError, match="lacks `in_process`, expected True or False"):
        contract_of(Lacking())


def test_what_an_episode_shows_to_be_untrue_ends_it_with_the_name():
    class Elsewhere(PushTEnv):
        kind = "stand-in"

    class Endless(PushTEnv):
        def conclude(self):
            observation, reward, _, _, info = super().conclude()
            self._over = False
            return observation, reward, False, False, info

    env = Elsewhere()
    with pytest.raises(ContractError, match=r"kind='stand-in', and its info says cell='sim'"):
        run_episode(env, RandomPolicy(env.action_space, 0), 0)

    class Otherwise(PushTEnv):
        stages = ("start", "done")

    env = Otherwise(max_episode_steps=60)
    with pytest.raises(ContractError, match=r"stages=\('start', 'done'\), and its info says stage='first_move'"):
        run_episode(env, make_pusher(env), 0)
    env = Endless(max_episode_steps=12)
    with pytest.raises(ContractError, match="`limit` and its episode goes on after 12 steps"):
        run_episode(env, RandomPolicy(env.action_space, 0), 0)
