"""TD3+BC: an actor that does what its critics prefer, and stays close to the data.

    python recipes/td3_bc.py                                # into runs/td3_bc, and the result becomes this workspace's policy
    python recipes/td3_bc.py --set hidden=512 --minutes 5   # another setting of the algorithm
    aeb job start td3_bc -- python recipes/td3_bc.py --keep   # in the background; --keep leaves the policy as it is
    aeb sweep td3_bc --over critic_weight=1.0,2.5 --over seed=0,1 \\
        -- python recipes/td3_bc.py --out runs/{name} --seed {seed} --set critic_weight={critic_weight} --keep

`critic_weight` is what the critics' word counts beside the data's: 0 is cloning. Read literature/td3-bc.md.

The algorithm is one file to be read: `python -c "import autoenvbench.learning.td3_bc as m; print(m.__file__)"`. To change more than settings, copy it
beside this file and import the copy.
"""

from autoenvbench.learning import td3_bc
from autoenvbench.learning.recipe import main

DATA = ["data/demos", "data/practice"]  # failures teach, too
SETTINGS = ["critic_weight=2.5", "updates=50000"]
CODE = True  # False where the answer is checkpoints/network.onnx alone

if __name__ == "__main__":
    main(td3_bc, __doc__, data=DATA, settings=SETTINGS, minutes=15, code=CODE)
