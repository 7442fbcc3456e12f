"""Write a policy, score it in its cage, and read why it fails. Takes about ten seconds.

python examples/chase.py
"""

import json
import subprocess
import sys
import tempfile
from pathlib import Path

POLICY = '''
import numpy as np


class Policy:
    """Runs the fingertip at the T, wherever that pushes it."""

    def __init__(self, observation_space, action_space):
        pass

    def reset(self, observation):
        pass

    def act(self, observation):
        tip, block = observation[:2], observation[2:4]
        return np.clip((block - tip) / 0.03, -1, 1)
'''

with tempfile.TemporaryDirectory() as folder:
    (Path(folder) / "policy.py").write_text(POLICY)
    command = [
        sys.executable,
        "-m",
        "autoenvbench.cli.main",
        "score",
        "--policy",
        folder,
        "-n",
        "20",
        "--json",
        *sys.argv[1:],
    ]
    result = json.loads(subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True).stdout)

print(f"success {result['success_rate']:.0%}, score {result['score']:.2f}; failures: {result['failures']}")
