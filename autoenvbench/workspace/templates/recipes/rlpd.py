"""RLPD: reinforcement learning in the simulator, half of every batch from demonstrations, with a cloning term that fades.

    python recipes/rlpd.py                                # into runs/rlpd, and the result becomes this workspace's policy
    python recipes/rlpd.py --set hidden=512 --minutes 5   # another setting of the algorithm
    aeb job start rlpd -- python recipes/rlpd.py --keep   # in the background; --keep leaves the policy as it is
    aeb sweep rlpd --over hold=1,3 --over seed=0,1 \\
        -- python recipes/rlpd.py --out runs/{name} --seed {seed} --set hold={hold} --keep

Decisions that are held (`hold`) explore further and are fewer to learn. It practises in a simulator of its own, so this is for the track
`open`. Read literature/rlpd.md.

The algorithm is one file to be read: `python -c "import autoenvbench.learning.rlpd as m; print(m.__file__)"`. To change more than settings, copy it
beside this file and import the copy.
"""

from autoenvbench.learning import rlpd
from autoenvbench.learning.recipe import main

DATA = ["data/demos"]
SETTINGS = ["clone=2000", "bc_weight=1.0", "n_step=3", "target_low=0.0", "target_high=1.0"]
CODE = True  # False where the answer is checkpoints/network.onnx alone

if __name__ == "__main__":
    main(rlpd, __doc__, data=DATA, settings=SETTINGS, minutes=30, code=CODE)
