"""Contact-rich tasks: env.step against the raw replay of the same controls (target ratio >= 0.75)."""

from __future__ import annotations

import os

os.environ.setdefault("MUJOCO_GL", "egl")

from raw import against_raw

for env_id in ("ENPIRE/PinInsertion-v0", "ENPIRE/GPUInsertion-v0"):
    print(f"{env_id:<28}" + "   ".join(f"{k} {v:,.2f}" for k, v in against_raw(env_id).items()))
