"""AutoEnvBench: coding agents against robot environments that reset and verify themselves.

Importing this package registers the ``ENPIRE/`` environments with Gymnasium, and the tasks of other installed packages
(`enpire_envs.registry`).
"""

import enpire_envs  # noqa: F401  (registers its tasks)
import enpire_real  # noqa: F401  (the same)
from enpire_envs.registry import listed_ids, load_entry_points

load_entry_points()

__version__ = "0.1.0"
ENV_IDS = listed_ids()
__all__ = ["ENV_IDS", "__version__"]
