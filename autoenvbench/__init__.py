"""AutoEnvBench: coding agents against robot environments that reset and verify themselves.

Importing this package registers the ``ENPIRE/`` environments with Gymnasium.
"""

import enpire_envs
import enpire_real

__version__ = "0.1.0"
ENV_IDS = (*enpire_envs.ENV_IDS, *enpire_real.ENV_IDS, *enpire_envs.SIMULATOR_IDS)
__all__ = ["ENV_IDS", "__version__"]
