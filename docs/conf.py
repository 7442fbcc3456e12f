"""How Sphinx builds the manual: `make docs`. What it generates first is `docs/generate.py`."""

import os
import sys
from pathlib import Path

os.environ.setdefault("MUJOCO_GL", "egl")
sys.path.insert(0, str(Path(__file__).parent))

project = "AutoEnvBench"
html_title = "AutoEnvBench"
extensions = ["myst_parser", "sphinx.ext.autodoc", "sphinx.ext.napoleon", "generate"]
exclude_patterns = ["_build"]
html_theme = "furo"
html_static_path = ["static"]
html_css_files = ["manual.css"]
html_show_sphinx = False
html_copy_source = False
html_theme_options = {"navigation_with_keys": True}

highlight_language = "none"  # a block that says no language is a terminal's
myst_heading_anchors = 3
default_role = "literal"  # docstrings write `name`, as Markdown does
autodoc_member_order = "bysource"
autodoc_typehints = "signature"
autodoc_class_signature = "mixed"
napoleon_google_docstring = True
napoleon_numpy_docstring = False
python_use_unqualified_type_names = True
autodoc_mock_imports = ["torch", "stable_baselines3"]  # of an extra, and slow to import
