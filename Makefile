# The two commands are `make demo` and `make test`; each sets up what it needs first. `make help` lists all.

PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
READY := $(VENV)/.ready
SECONDS ?=
DEMO ?=

.PHONY: help setup demo test test-fast bench lint types imports docs docs-check wheel-check ci clean
.DEFAULT_GOAL := help

help:  ## List the commands
	@grep -hE '^[a-z-]+:.*##' $(MAKEFILE_LIST) | awk -F ':.*## ' '{printf "  make %-12s %s\n", $$1, $$2}'

# The virtual environment, made anew when the dependencies change.
$(READY): pyproject.toml
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || \
	  { echo "make: $$($(PYTHON) --version) is too old; streaming-dd needs Python 3.11 or newer: make PYTHON=python3.12 $(MAKECMDGOALS)"; exit 2; }
	@echo "==> Creating the virtual environment in $(VENV)"
	@$(PYTHON) -m venv $(VENV) || { echo "make: the venv module is missing; on Debian: apt-get install python3-venv"; exit 2; }
	@echo "==> Installing the dependencies (a minute or two the first time)"
	@$(BIN)/python -m pip install --quiet --disable-pip-version-check --upgrade "pip>=25.1"
	@$(BIN)/python -m pip install --disable-pip-version-check --progress-bar on --editable . --group dev \
	  | sed -n 's/^\(Collecting\|Installing\|Successfully\) \([^ ]*\).*/    \1 \2/p'
	@touch $(READY)
	@echo "==> Ready"

setup: $(READY)  ## Create .venv with everything in it

demo: $(READY)  ## Run the example, a local agent and real clients; SECONDS=20 for a bounded run
	@$(BIN)/python -m examples.demo $(if $(SECONDS),--seconds $(SECONDS)) $(DEMO)

test: $(READY) system-packages  ## Run all tests: unit, process, browser
	@$(BIN)/python -m pytest -q

test-fast: $(READY)  ## Run the tests that take seconds
	@$(BIN)/python -m pytest -q -m "not process and not browser"

bench: $(READY)  ## Measure the goals of the benchmarks: goal, figure, met or not
	@$(BIN)/python -m benchmarks

lint: $(READY)  ## Lint and check the formatting
	@$(BIN)/ruff check .
	@$(BIN)/ruff format --check .

types: $(READY)  ## Check the types, strictly
	@$(BIN)/mypy

imports: $(READY)  ## Check that imports point down
	@$(BIN)/lint-imports

docs: $(READY)  ## Generate the metrics table and the files of dd-agent/
	@$(BIN)/python -m streaming_dd.reference docs/metrics.md README.md
	@$(BIN)/streaming-dd assets render

docs-check: $(READY)  ## Fail if a generated file is stale
	@$(BIN)/python -m streaming_dd.reference --check docs/metrics.md README.md
	@$(BIN)/streaming-dd assets render --check

wheel-check: $(READY)  ## Build the wheel and import it in an empty environment, without the extras
	@$(BIN)/python tests/wheel_check.py

# What tests need of the system and pip cannot bring: a browser, a Prometheus server, Redis.
.PHONY: system-packages
system-packages:
	@missing=; for pair in chromium:chromium prometheus:prometheus redis-server:redis-server; do \
	  command -v $${pair%%:*} >/dev/null || missing="$$missing $${pair##*:}"; done; \
	if [ -n "$$missing" ]; then \
	  if command -v apt-get >/dev/null && [ "$$(id -u)" = 0 ]; then \
	    echo "==> Installing$$missing"; apt-get update -qq && DEBIAN_FRONTEND=noninteractive apt-get install -y -qq $$missing >/dev/null; \
	  else echo "make: not found:$$missing. The tests that need them are skipped; install them for a full run."; fi; fi

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

ci:  ## Everything that CI runs
	@.ci/run

clean:  ## Remove the virtual environment and caches
	rm -rf $(VENV) .mypy_cache .ruff_cache .pytest_cache .hypothesis build dist
