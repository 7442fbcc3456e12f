"""Soft actor-critic: reinforcement learning in the simulator, from nothing.

    python recipes/sac.py                                # into runs/sac, and the result becomes this workspace's policy
    python recipes/sac.py --set hidden=512 --minutes 5   # another setting of the algorithm
    aeb job start sac -- python recipes/sac.py --keep   # in the background; --keep leaves the policy as it is
    aeb sweep sac --over hold=1,3 --over seed=0,1 \\
        -- python recipes/sac.py --out runs/{name} --seed {seed} --set hold={hold} --keep

A sparse reward is seldom found by chance: see what it earns in runs/sac/curve.csv before you wait. It practises in a simulator of its own,
so this is for the track `open`. Read literature/sac.md.

The algorithm is one file to be read: `python -c "import autoenvbench.learning.sac as m; print(m.__file__)"`. To change more than settings, copy it
beside this file and import the copy.
"""

from autoenvbench.learning import sac
from autoenvbench.learning.recipe import main

DATA: list[str] = []  # "data/demos" would lie in its replay
SETTINGS = ["n_step=3", "hold=3"]
CODE = True  # False where the answer is checkpoints/network.onnx alone

if __name__ == "__main__":
    main(sac, __doc__, data=DATA, settings=SETTINGS, minutes=30, code=CODE)
