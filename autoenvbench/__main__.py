"""`python -m autoenvbench` is the `autoenvbench` command."""

import sys

from autoenvbench.cli.main import main

sys.exit(main())
