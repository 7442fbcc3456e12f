"""Contact-rich tasks: env.step against the raw replay of the same controls.

Targets: a ratio of 0.80 for pin and GPU insertion. Tying and cutting rewrite the model on the way, so their ceiling replays those
writes too; target 0.5.
"""

from __future__ import annotations

import os

os.environ.setdefault("MUJOCO_GL", "egl")

from raw import against_raw

for name in (
    "PinInsertion",
    "PinInsertion-State",
    "GPUInsertion",
    "GPUInsertion-State",
    "TieZipTie",
    "CutZipTie",
    "CutZipTie-State",
):
    print(f"{name:<20}" + "   ".join(f"{k} {v:,.2f}" for k, v in against_raw(f"ENPIRE/{name}-v0").items()))
