"""Implicit Q-learning: from recorded episodes of mixed quality, without trying anything.

    python recipes/iql.py                                # into runs/iql, and the result becomes this workspace's policy
    python recipes/iql.py --set hidden=512 --minutes 5   # another setting of the algorithm
    aeb job start iql -- python recipes/iql.py --keep   # in the background; --keep leaves the policy as it is
    aeb sweep iql --over expectile=0.7,0.9 --over seed=0,1 \\
        -- python recipes/iql.py --out runs/{name} --seed {seed} --set expectile={expectile} --keep

It imitates the better part of the data, so practise first: without failures in DATA it is cloning, and slower. Read literature/iql.md.

The algorithm is one file to be read: `python -c "import autoenvbench.learning.iql as m; print(m.__file__)"`. To change more than settings, copy it
beside this file and import the copy.
"""

from autoenvbench.learning import iql
from autoenvbench.learning.recipe import main

DATA = ["data/demos", "data/practice"]  # failures teach, too
SETTINGS = ["expectile=0.8", "advantage_weight=10.0", "updates=50000"]
CODE = True  # False where the answer is checkpoints/network.onnx alone

if __name__ == "__main__":
    main(iql, __doc__, data=DATA, settings=SETTINGS, minutes=15, code=CODE)
