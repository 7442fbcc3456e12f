"""A fingerprint covers what decides an episode and nothing else: kind of file by kind of file, fact by fact."""

import enpire_envs
import gymnasium as gym
import pytest
from enpire_envs.contract import ContractError, contract_of
from enpire_envs.fingerprint import fingerprint, sources, without_words
from enpire_envs.pusht.env import PushTEnv


def print_of(env_id, **kwargs):
    env = gym.make(env_id, disable_env_checker=True, **kwargs)
    made = fingerprint(env)
    env.close()
    return made


def names(env_id):
    env = gym.make(env_id, disable_env_checker=True)
    found = set(sources(contract_of(env).identity()))
    env.close()
    return found


def test_what_is_read_of_a_task():
    own = {f"enpire_envs.pusht.{name}" for name in ("env", "task", "scene", "geometry", "levels")}
    suite = {
        f"enpire_envs.{name}"
        for name in (
            "env",
            "task",
            "cell",
            "sim",
            "randomise",
            "time_limit",
            "levels",
            "appearance",
            "camera_model",
            "shaping",
        )
    }
    assert names("ENPIRE/PushT-v0") == own | suite | {"enpire_envs.pusht/scene.xml"}
    pin = names("ENPIRE/PinInsertion-v0")
    assert pin >= {"enpire_envs.end_effector", "enpire_envs/end_effector.xml", "enpire_envs.contact"}
    assert not any("pusht" in name for name in pin)


@pytest.mark.parametrize("env_id", [*enpire_envs.ENV_IDS, "ENPIRE/PushT-real-v0"])
def test_nothing_is_read_that_only_watches(env_id):
    aside = (
        "brief",
        "contract",
        "fingerprint",
        "reference",
        "registry",
        "tools",
        "vector",
        "template",
        "recorder",
        "tool_body",
    )
    assert not [name for name in names(env_id) if set(name.replace("/", ".").split(".")) & set(aside)]


def test_every_task_has_its_own_and_it_can_be_made_again():
    marks = [print_of(env_id) for env_id in enpire_envs.ENV_IDS]
    assert len(set(marks)) == len(marks)
    assert print_of(enpire_envs.ENV_IDS[0]) == marks[0]


def test_arguments_count_as_they_are_in_force(monkeypatch):
    default = print_of("ENPIRE/PushT-v0")
    for other in ({"criterion": "pose"}, {"obs_type": "pixels"}, {"starts": "ood"}, {"max_episode_steps": 299}):
        assert print_of("ENPIRE/PushT-v0", **other) != default, other
    same = {"obs_type": "state", "render_mode": "rgb_array", "visualization_width": 64, "max_episode_steps": 300}
    assert print_of("ENPIRE/PushT-v0", **same) == default
    monkeypatch.setattr("numpy.__version__", "99.0.0")
    assert print_of("ENPIRE/PushT-v0") == default


def test_physics_has_a_version(monkeypatch):
    default = print_of("ENPIRE/PushT-v0")
    monkeypatch.setattr("enpire_envs.env.metadata.version", lambda package: "99.0.0")
    assert print_of("ENPIRE/PushT-v0") != default


@pytest.mark.parametrize(
    ("code", "also", "same"),
    [
        ("x = 1\n", "x = 1  # one\n", True),
        ("x = 1\n", "\n\nx = 1\n", True),
        ("def f():\n    return 1\n", 'def f():\n    """One."""\n\n    return 1\n', True),
        ("class A:\n    x = 1\n", 'class A:\n    """A.\n\n    # not a comment\n    """\n\n    x = 1\n', True),
        ("x = '#1'\n", "x = '#2'\n", False),
        ("x = 1\n", "x = 2\n", False),
        ('class A: "A"; x = 1\n', 'class A: "A"; x = 2\n', False),
        ("if y:\n    x = 1\n", "if y:\n        x = 1\n", False),
    ],
)
def test_words_for_people_do_not_count(code, also, same):
    assert (without_words(code) == without_words(also)) == same


def test_an_environment_that_gymnasium_did_not_make_has_none():
    with pytest.raises(ContractError, match=r"gymnasium\.make"):
        fingerprint(PushTEnv())
