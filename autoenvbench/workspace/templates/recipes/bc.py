"""Behaviour cloning: do what the demonstrations did, given what they saw.

    python recipes/bc.py                                # into runs/bc, and the result becomes this workspace's policy
    python recipes/bc.py --set hidden=512 --minutes 5   # another setting of the algorithm
    aeb job start bc -- python recipes/bc.py --keep   # in the background; --keep leaves the policy as it is
    aeb sweep bc --over hidden=256,512 --over seed=0,1 \\
        -- python recipes/bc.py --out runs/{name} --seed {seed} --set hidden={hidden} --keep

What the network sees decides (`history`: looks back, `stride` control steps apart), then who shows, then how many episodes there are. Read
literature/behaviour-cloning.md.

The algorithm is one file to be read: `python -c "import autoenvbench.learning.bc as m; print(m.__file__)"`. To change more than settings, copy it
beside this file and import the copy.
"""

from autoenvbench.learning import bc
from autoenvbench.learning.recipe import main

DATA = ["data/demos"]  # "data/practice" as well: successful episodes of your own
SETTINGS = ["history=12", "hidden=256", "updates=12000"]
CODE = True  # False where the answer is checkpoints/network.onnx alone

if __name__ == "__main__":
    main(bc, __doc__, data=DATA, settings=SETTINGS, minutes=10, code=CODE)
