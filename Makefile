# The two commands are `make demo` and `make test`; each sets up what it needs first. `make help` lists all.

PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
READY := $(VENV)/.ready
DEMO_READY := $(VENV)/.ready-demo
LOCK := requirements-dev.txt
DEMO_LOCK := requirements-demo.txt
# Most tests wait for processes, not for a core: twice as many workers as cores.
WORKERS ?= $(shell echo $$((2 * $$(getconf _NPROCESSORS_ONLN 2>/dev/null || echo 2))))
# One that hangs ends its worker and with it the run: a new worker would begin with the same test. docs/decisions/0240
PYTEST = -m pytest -q -n $(WORKERS) --dist loadfile --max-worker-restart=0
SECONDS ?=
DEMO ?=

.PHONY: help setup demo test test-fast bench lint types imports docs docs-check wheel-check ci clean
.DEFAULT_GOAL := help

help:  ## List the commands
	@grep -hE '^[a-z-]+:.*##' $(MAKEFILE_LIST) | awk -F ':.*## ' '{printf "  make %-20s %s\n", $$1, $$2}'

# The virtual environment, brought up to date when the dependencies change. Versions and hashes are those of the lock, so
# that what passed yesterday passes today; `make lock` renews them, `make test-newest` tries the newest. The demo needs a
# quarter of it: whoever only wants to look waits for that alone, and the other commands bring the rest.
define install
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || \
	  { echo "make: $$($(PYTHON) --version) is too old; streaming-dd needs Python 3.11 or newer: make PYTHON=python3.12 $(MAKECMDGOALS)"; exit 2; }
	@$(BIN)/python -m pip --version >/dev/null 2>&1 || { echo "==> Creating the virtual environment in $(VENV)"; $(PYTHON) -m venv $(VENV); } || \
	  { echo "make: the venv module is missing; on Debian: apt-get install python3-venv"; exit 2; }
	@echo "==> Installing $(2)"
	@rm -f $(VENV)/.failed; { $(BIN)/python -m pip install --disable-pip-version-check --progress-bar on --require-hashes \
	  --requirement $(1) || touch $(VENV)/.failed; } \
	  | sed -n 's/^\(Collecting\|Installing\|Successfully\) \([^ ]*\).*/    \1 \2/p'; test ! -e $(VENV)/.failed
	@$(BIN)/python -m pip install --quiet --disable-pip-version-check --no-deps --no-build-isolation --editable .
endef

$(READY): pyproject.toml $(LOCK)
	$(call install,$(LOCK),what development and tests need (a minute or two the first time))
	@touch $(READY) $(DEMO_READY)
	@echo "==> Ready"

$(DEMO_READY): pyproject.toml $(DEMO_LOCK)
	$(call install,$(DEMO_LOCK),what the demo needs (half a minute the first time))
	@touch $(DEMO_READY)
	@echo "==> Ready"

.PHONY: lock
UV = $(VENV)-lock/bin/uv pip compile --quiet --universal --generate-hashes --python-version 3.11 --custom-compile-command "make lock" pyproject.toml
lock:  ## Renew the locked versions of what development, tests and the demo need
	@test -e $(VENV)-lock/bin/uv || { $(PYTHON) -m venv $(VENV)-lock && $(VENV)-lock/bin/python -m pip install --quiet --disable-pip-version-check uv; }
	@$(UV) --upgrade --all-extras --group dev --output-file $(LOCK)
	@$(UV) --upgrade --extra demo --group editable --constraint $(LOCK) --output-file $(DEMO_LOCK)
	@git diff --stat -- $(LOCK) $(DEMO_LOCK)

setup: $(READY)  ## Create .venv with everything in it

demo: $(DEMO_READY)  ## Run the example, a local agent and real clients; SECONDS=20 for a bounded run
	@$(BIN)/python -m examples.demo $(if $(SECONDS),--seconds $(SECONDS)) $(DEMO)

test: $(READY) system-packages  ## Run all tests: unit, process, browser
	@$(BIN)/python $(PYTEST)

# Compiled test modules are kept even where PYTHONDONTWRITEBYTECODE is set, as in containers: else each of the workers
# rewrites the assertions of every module anew, which takes longer than the tests.
test test-fast: export PYTHONDONTWRITEBYTECODE :=

# Without what these tests do not use: each of the workers would import the plug-ins of ddtrace and of faker.
test-fast: $(READY)  ## Run the tests that take no seconds: no process, no browser, no waiting, few examples of a property
	@$(BIN)/python $(PYTEST) -p no:ddtrace -p no:faker -m "not process and not browser and not slow" --hypothesis-profile fast

.PHONY: test-faults fault-matrix
test-faults: $(READY)  ## Break every way out of a process, in every way: what is lost must be said
	@$(BIN)/python -m pytest -q tests/faults

fault-matrix: $(READY)  ## Measure what faults cost, and write it to docs/faults.md
	@PYTHONPATH=tests $(BIN)/python tests/faults/matrix.py docs/faults.md

bench: $(READY)  ## Measure the goals of the benchmarks: goal, figure, met or not
	@$(BIN)/python -m benchmarks

.PHONY: corpus
corpus: $(READY)  ## Say how much of the dashboards and monitors below CORPUS=path is understood (checkouts of public repositories)
	@$(BIN)/python -m benchmarks.corpus $(CORPUS)

lint: $(READY)  ## Lint and check the formatting
	@$(BIN)/ruff check .
	@$(BIN)/ruff format --check .

types: $(READY)  ## Check the types, strictly
	@$(BIN)/mypy

imports: $(READY)  ## Check that imports point down
	@$(BIN)/lint-imports

docs: $(READY)  ## Generate the metrics table and the files of dd-agent/
	@$(BIN)/python -m streaming_dd.cli.reference docs/metrics.md docs/truth.md docs/architecture.md README.md
	@$(BIN)/streaming-dd assets render

docs-check: $(READY)  ## Fail if a generated file is stale
	@$(BIN)/python -m streaming_dd.cli.reference --check docs/metrics.md docs/truth.md docs/architecture.md README.md
	@$(BIN)/streaming-dd assets render --check

wheel-check: $(READY)  ## Build the wheel and import it in an empty environment, without the extras
	@$(BIN)/python tests/wheel_check.py

# What tests need of the system and pip cannot bring: a browser, a Prometheus server and VictoriaMetrics, Redis, shells, a
# clock that jumps; and axe-core, which judges the accessibility of the page (development only, in a folder that git ignores).
AXE := axe-core@4.14.1
.PHONY: system-packages
system-packages:
	@missing=; for pair in chromium:chromium prometheus:prometheus redis-server:redis-server fish:fish zsh:zsh \
	    faketime:faketime victoria-metrics:victoria-metrics; do \
	  command -v $${pair%%:*} >/dev/null || missing="$$missing $${pair##*:}"; done; \
	if [ -n "$$missing" ]; then \
	  if command -v apt-get >/dev/null && [ "$$(id -u)" = 0 ]; then \
	    echo "==> Installing$$missing"; apt-get update -qq && DEBIAN_FRONTEND=noninteractive apt-get install -y -qq $$missing >/dev/null; \
	  else echo "make: not found:$$missing. The tests that need them are skipped; install them for a full run."; fi; fi
	@test -e .node/node_modules/axe-core/axe.min.js || { command -v npm >/dev/null && \
	  npm install --silent --no-save --no-audit --no-fund --ignore-scripts --prefix .node $(AXE) >/dev/null; } || \
	  echo "make: npm could not install $(AXE). The test of the page's accessibility is skipped."

# Django 6 needs Python 3.12 or newer: an environment of its own, where there is such a Python.
.PHONY: test-django6
test-django6:  ## Run the Django tests on Django 6; PYTHON6 names a Python 3.12 or newer
	@for python in $(PYTHON6) python3.14 python3.13 python3.12 "$$HOME"/.pyenv/versions/3.1[2-9].*/bin/python; do \
	  "$$python" -c 'import sys; sys.exit(sys.version_info < (3, 12))' 2>/dev/null || continue; \
	  if [ ! -e $(VENV)-django6/.ready ]; then \
	    echo "==> Creating $(VENV)-django6 with $$($$python --version)"; \
	    "$$python" -m venv --clear $(VENV)-django6 && $(VENV)-django6/bin/python -m pip install --quiet \
	      --disable-pip-version-check --editable '.[agent,django,prometheus]' "django>=6" \
	      pytest pytest-timeout hypothesis httpx fastapi && touch $(VENV)-django6/.ready || exit 1; \
	  fi; \
	  exec $(VENV)-django6/bin/python -m pytest -q tests/django_app; \
	done; \
	echo "make: no Python 3.12 or newer was found (PYTHON6=/path/to/python); the tests on Django 6 are skipped"

# What was released since the lock was made: a run of its own, which tells and breaks nobody's build.
.PHONY: test-newest
test-newest: system-packages  ## Run all tests on the newest versions of every dependency
	@$(PYTHON) -m venv --clear $(VENV)-newest
	@$(VENV)-newest/bin/python -m pip install --quiet --disable-pip-version-check --upgrade "pip>=25.1"
	@$(VENV)-newest/bin/python -m pip install --quiet --disable-pip-version-check --editable '.[agent,assets,django,prometheus,redis]' --group dev
	@$(VENV)-newest/bin/python -m pip list --disable-pip-version-check --format freeze | sort > $(VENV)-newest/versions.txt
	@sed -n 's/^\([a-z0-9._-]*==[^ ]*\).*/\1/p' $(LOCK) | sort | comm -13 - $(VENV)-newest/versions.txt | sed 's/^/    newer than the lock: /'
	@$(VENV)-newest/bin/python $(PYTEST)

# The oldest ddtrace that pyproject.toml allows, in an environment of its own: its private names are looked up, too.
OLDEST_DDTRACE := 4.10.0
.PHONY: test-oldest-ddtrace
test-oldest-ddtrace:  ## Run the tests of spans on the oldest supported ddtrace
	@if [ ! -e $(VENV)-ddtrace/.ready ]; then \
	  echo "==> Creating $(VENV)-ddtrace with ddtrace $(OLDEST_DDTRACE)"; \
	  $(PYTHON) -m venv --clear $(VENV)-ddtrace && $(VENV)-ddtrace/bin/python -m pip install --quiet \
	    --disable-pip-version-check --editable '.[agent,django,prometheus]' "ddtrace==$(OLDEST_DDTRACE)" \
	    pytest pytest-timeout hypothesis httpx fastapi uvloop && touch $(VENV)-ddtrace/.ready || exit 1; \
	fi
	@$(VENV)-ddtrace/bin/python -m pytest -q tests/output/test_span_conformance.py tests/output/test_tracing.py \
	  tests/output/test_span_direct.py tests/output/test_span_export.py

# arq wants a redis-py that is older than the lock's: an environment of its own.
.PHONY: test-arq
test-arq: system-packages  ## Run the tests of arq, whose dependencies do not go together with the others'
	@if [ ! -e $(VENV)-arq/.ready ]; then \
	  echo "==> Creating $(VENV)-arq"; \
	  $(PYTHON) -m venv --clear $(VENV)-arq && $(VENV)-arq/bin/python -m pip install --quiet \
	    --disable-pip-version-check --editable '.[agent]' arq uvicorn websockets pytest pytest-timeout hypothesis httpx \
	    && touch $(VENV)-arq/.ready || exit 1; \
	fi
	@$(VENV)-arq/bin/python -m pytest -q tests/servers/test_redis_brokers.py tests/tasks/test_brokers.py -k arq

ci:  ## Everything that CI runs
	@.ci/run

clean:  ## Remove the virtual environment and caches
	rm -rf $(VENV) $(VENV)-* .mypy_cache .ruff_cache .pytest_cache .hypothesis build dist

# The oldest servers and frameworks that are supported, in an environment of its own, on the tests of routes and errors.
OLDEST := "fastapi==0.115.2" "starlette==0.40.0" "django==5.2" "channels==4.0.0" "uvicorn==0.30.0" "hypercorn==0.17.0" \
  "daphne==4.0.0" "granian==1.6.4" "gunicorn==23.0.0"
.PHONY: test-oldest
test-oldest:  ## Run the tests of routes on the oldest supported frameworks
	@if [ ! -e $(VENV)-oldest/.ready ]; then \
	  echo "==> Creating $(VENV)-oldest"; \
	  $(PYTHON) -m venv --clear $(VENV)-oldest && $(VENV)-oldest/bin/python -m pip install --quiet \
	    --disable-pip-version-check --editable '.[agent,django]' $(OLDEST) \
	    pytest pytest-timeout pytest-xdist hypothesis httpx trio && touch $(VENV)-oldest/.ready || exit 1; \
	fi
	@$(VENV)-oldest/bin/python -m pytest -q -W default tests/requests/test_routes.py tests/requests/test_included_routes.py \
	  tests/requests/test_standing_in.py tests/django_app/test_django_routes.py tests/django_app/test_django_errors.py \
	  tests/django_app/test_channels_routes.py
