"""`ENPIRE/PushT-v0`, its ranked levels, and `ENPIRE/PushTSimple-v0`."""

from __future__ import annotations

from typing import Literal, Unpack

from enpire_envs.env import CellEnv, CellOptions, choose
from enpire_envs.pusht.brief import describe
from enpire_envs.pusht.levels import LEVELS
from enpire_envs.pusht.scene import ARENAS, PushTScene
from enpire_envs.pusht.task import SENSING, Control, Criterion, PushT
from enpire_envs.sim import SimCell


class PushTEnv(CellEnv):
    """Push a T-shaped block onto its target with the tip of a closed gripper.

    ## Description
    A red T (160 x 160 x 30 mm, bars 40 mm wide, 0.2 kg) lies on a table inside a workspace of 0.60 x 0.47 m. A single
    fingertip pushes it; it cannot grasp or pull. The episode is solved when the T lies on the green target at rest.
    The T's friction limit is an ellipsoid (one elliptic contact under the centroid, condim 4), so it is round: pushing
    diagonally is no harder than pushing straight. The fingertip follows speed-limited targets inside the physics.

    Table frame: origin at the centre of the workspace, x to the right and y up in the top camera's image, yaw
    counter-clockwise. T frame: origin at the centroid, +y from the crossbar along the stem. The target is at
    (0, 0), yaw 0: crossbar below, stem up.

    ## Levels
    The id, or `level`, decides what table, T, arm and light may be. `intro` is for tutorials and debugging; the others are made to be
    ranked. Ranges are drawn uniformly: "station" once per `station_seed`, "episode" for each episode on top.

    | | `intro`: `ENPIRE/PushT-v0` | `state`: `-State-v0` | `standard`: `-Standard-v0` | `expert`: `-Expert-v0` | `fleet`: `-Fleet-v0` |
    |---|---|---|---|---|---|
    | observation | state | state | top image, fingertip | as standard | as standard |
    | T's friction on the table | x 0.9 to 1.1 | station x 0.75 to 1.33, episode x 0.75 to 1.33 | as state | episode x 0.6 to 1.6 | station x 0.5 to 2 |
    | share of it that resists turning | fixed | station x 0.8 to 1.25, episode x 0.7 to 1.3 | as state | episode x 0.6 to 1.5 | station x 0.6 to 1.6 |
    | where the T's weight rests | centroid | within 6 mm (station) and 6 mm (episode) of it | as state | episode 10 mm | station 12 mm |
    | friction between fingertip and T | 0.5 | station x 0.7 to 1.4, episode x 0.5 to 1.5 | as state | episode x 0.4 to 1.6 | station x 0.4 to 2 |
    | stiffness of the drives (2000 N/m) | fixed | station x 0.8 to 1.25 | as state | episode x 0.8 to 1.25 too | station x 0.5 to 1.6 |
    | fingertip in the gripper | exact | off by up to 2 mm (station) and 2 mm (episode) | as state | episode 3 mm | station 4 mm |
    | delay of actions [control periods] | none | 1 or 2 | as state | 1 to 3 | 0 to 3 |
    | fingertip's position | exact | joint encoders: 0.5 mm backlash, an error of 0.5 to 1 mm over a wave of 0.2 m, 0.3 mm noise | as state | as state | \
as state |
    | T's pose | see below | an error below 3 mm and 2 degrees that wanders within 3 s, 0.1 s old; 5 % of looks fail, 3 % are wrong by 30 to 90 mm or \
20 to 60 degrees and say `valid` 1; none where the arm hides too much of the T: more than 20 to 40 %, 5 % more or less from look to look | not given | not given | not given |
    | arm in the image | none | from the fingertip to its base at -y, turned by up to 30 degrees (station) | as state | as state | as state |
    | light, colours | fixed | brightness x 0.7 to 1.25, colours +- 8 % and 12 % (station) | as state | x 0.55 to 1.4 | colours +- 20 % |
    | camera | fixed | off by 3 mm and 0.1 degrees (station) | knocked by 1 mm and 0.05 degrees in each episode too | the same, by 3 mm and 0.15 degrees | 10 mm, 0.4 degrees; knocked as standard |
    | pictures (see Pictures) | clean | - | blurred by 0.5 to 1.2 px; distorted by up to 3 %; corners 10 to 30 % darker; \
exposure 0.85 to 1.15 times, colours 5 %, flicker 3 %; noise 2 in the dark and 5 by full light, of 255; 1 to 2 control periods old | blurred by 0.7 to 1.5 px; flicker 5 %; noise 3 and 7; else as `standard` | \
distorted by up to 5 %; corners 5 to 40 % darker; \
exposure 0.75 to 1.25 times; else as `standard` |
    | on the table | - | - | - | a T of another colour, four other prints | - |
    | starts | `starts` | `starts` | `starts` | 30 % from the `"ood"` range | `starts` |

    ## Action space
    `Box(-1, 1, (2,), float32)`, 10 Hz.

    | i | action | range | unit |
    |---|---|---|---|
    | 0 | displacement of the fingertip's target along x | [-1, 1] | x 30 mm per step (0.3 m/s) |
    | 1 | the same along y | [-1, 1] | x 30 mm per step |

    Displacements add up on the last *commanded* target, which stays inside the workspace. With
    `control="absolute"` the action is the target position itself [m], approached at the same speed limit.

    ## Observation space
    `obs_type="state"`: `Box((8,), float32)`. The T's pose is what perception would give: at `intro` with
    `sensing="noisy"` a per-episode bias (1 mm, 0.3 deg std), noise (0.5 mm, 0.2 deg), 0 or 1 steps of latency and 2 %
    drop-outs.

    | i | observation | unit |
    |---|---|---|
    | 0-1 | fingertip x, y (proprioception) | m |
    | 2-3 | estimated T centroid x, y | m |
    | 4-5 | cos, sin of the estimated T yaw | - |
    | 6 | age of the estimate | s |
    | 7 | valid: 1, or 0 when the reading was missed and the last good one is repeated | - |

    `"environment_state_agent_pos"`: the same as a Dict, `agent_pos` (2,) and `environment_state` (6,).
    `"pixels"`: top camera, (96, 96, 3) uint8, 0.66 m square around the workspace's centre. `"pixels_agent_pos"`: Dict of `pixels` and
    `agent_pos` (2,), the fingertip [m]; the only one at `standard`, `expert` and `fleet`.

    ## Pictures
    A real camera's (`enpire_envs.camera_model`): `standard`, `expert` and `fleet` draw blur (a round Gaussian's std in a picture of 96 px), exposure, the factor of
    each colour, a slow flicker (0.5 to 2 s) and the age of what is seen per episode; radial distortion (at half the picture's width, either way) and vignetting per
    station. Noise is new in each frame: its std in the dark, and what full light adds. Larger pictures, films included, carry no more. `sensing="ideal"` is clean.

    ## Reward
    `"sparse"`: 1 on the step of a verified success, else 0. `"dense"`: that plus gamma Phi(s') - Phi(s), potential-based shaping
    (`enpire_envs.shaping`): finishing returns more than stopping part-way, than going to and fro and than failing, discounted by `gamma`
    (per step; 0.99; learn with the same) or not. Phi is 0 after the end of an episode, else in proportion: coverage / 0.95, at most 1.

    ## Starts
    T and fingertip uniform over the workspace, yaw uniform, never overlapping, never already solved; the T's bounding
    box at least 60 mm inside (`starts="id"`) or between 35 and 60 mm (`"ood"`). PushTSimple: the T turned by
    180 +- 15 deg (`"ood"`: +- 45 deg). `reset(options={"start": {"block": [x, y, yaw], "tip": [x, y]}})` asks for an
    exact start, of the T's centroid and of the fingertip: m and rad, in the table's frame (origin in the middle, x to the right and y up in
    the top image, yaw counter-clockwise, 0 with the stem up). Each episode draws the table's friction (+- 10 %).

    ## Episode end
    When the job looks done (T at rest: moved < 2 mm and < 1 deg in the last step) the policy's turn is over; the
    verifier lifts the fingertip away, lets the T settle and looks again. That verdict is final (terminated).
    A safety violation terminates without success: T's centroid outside the workspace, fingertip outside, drive force above
    60 N. Truncated after 300 steps.

    Success by `criterion`: `"coverage"` (default): at least 95 % of the target's area covered (exact).
    `"pose"`: the T's bounding box inside the goal box (the target's, grown by 20 mm) and within 10 deg, the paper's
    test on the robot. `"simple"` (PushTSimple): within 20 mm and 10 deg.

    `info["score"]`: a quarter per stage, in this order: `first_move` (T displaced by 10 mm), `range_ok` (T's bounding
    box inside the goal box grown by 20 mm), `orientation_ok` (there and within 10 deg), `success`.
    `info["coverage"]`: share of the target covered.

    ## Arguments
    `level`, `station_seed` (which station; ranked levels), `obs_type`, `reward_type`, `gamma`, `sensing` ("noisy" or "ideal"; rows with "ideal" are unranked), `starts`, `criterion`,
    `control`, `arena` ("station", or "gym-pusht": 0.68 m square with walls, target turned by 45 deg),
    `render_mode` ("rgb_array", "human"), `observation_width`, `visualization_width` [px], `max_episode_steps`.

    ## Differences from gym-pusht
    Speed-limited fingertip, friction and inertia of a real table, an area-weighted centroid, starts that never overlap,
    success verified at rest and not in passing.

    ## Version history
    v0: first release. Source: ENPIRE (arXiv 2606.19980); shape and coverage from gym-pusht / Diffusion Policy
    (Chi et al. 2023) and Implicit BC (Florence et al. 2021).
    """

    task: PushT
    cell: SimCell

    def __init__(
        self,
        *,
        level: Literal["intro", "state", "standard", "expert", "fleet"] = "intro",
        variant: Literal["full", "simple"] = "full",
        sensing: Literal["noisy", "ideal"] = "noisy",
        criterion: Criterion | None = None,
        control: Control = "delta",
        arena: Literal["station", "gym-pusht"] = "station",
        **options: Unpack[CellOptions],
    ) -> None:
        if criterion is None:
            criterion = "simple" if variant == "simple" else "coverage"
        choose("level", level, LEVELS)
        choose("sensing", sensing, SENSING)
        choose("criterion", criterion, ("coverage", "pose", "simple"))
        choose("control", control, ("delta", "absolute"))
        choose("arena", arena, ARENAS)
        numbers = LEVELS[level]
        task = PushT(ARENAS[arena], criterion, control, sensing, variant, numbers)
        scene = PushTScene(ARENAS[arena], numbers)
        installed = () if level == "intro" else (scene,)
        camera = numbers.camera if sensing == "noisy" else None
        super().__init__(task, SimCell(scene, task.control_hz), installed=installed, camera=camera, **options)

    def brief(self) -> str:
        """Controller, senses and geometry, as Markdown (see `enpire_envs.brief`)."""
        return describe(self.task, self.cell.scene.build(), self._obs_type)
