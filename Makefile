# All that this needs is make and Python 3.11 or later: every dependency is a wheel, PostgreSQL too.
# Stamps in .venv remember what is installed, so that the second run begins at once.

PYTHON ?= python3
BIN := .venv/bin
PIP := $(BIN)/python -m pip --quiet --disable-pip-version-check --no-input
COMPILE := $(BIN)/uv pip compile --generate-hashes --universal --no-header --python-version 3.11

# What builds the package. `make up` takes these out of the development lock, and nothing else of it.
BACKEND := hatchling|packaging|pathspec|pluggy|tomlkit|trove-classifiers

.DEFAULT_GOAL := help
.PHONY: up test test-two test-mirror torture-sync soak check bench docs lock clean help

up: .venv/runtime.stamp ## Start everything behind one port; with a bank that misbehaves: make up CHAOS=0.4
	@$(BIN)/bankmirror up $(if $(CHAOS),--chaos $(CHAOS))

test: .venv/development.stamp ## Run all tests; some of them: make test ARGS="tests/unit -k money"
	$(BIN)/python -m pytest -n 2 --dist loadfile --no-loadscope-reorder $(ARGS)

check: .venv/development.stamp ## Lint, formatting, types, and who may import whom
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/lint-imports

test-two: .venv/development.stamp ## Let two ingest processes share 2,000 accounts, and stop one of them
	BANKMIRROR_TEST_ACCOUNTS=2000 $(BIN)/python -m pytest tests/integration/ingest/test_two.py -s $(ARGS)

EXAMPLES ?= 2000
STEPS ?= 100
MINUTES ?= 10
torture-sync: .venv/development.stamp ## Torture the mirror with EXAMPLES=2000 x STEPS=100 random histories; SEED= brings one back
	TORTURE_EXAMPLES=$(EXAMPLES) TORTURE_STEPS=$(STEPS) TORTURE_SEED=$(SEED) \
	  $(BIN)/python -m pytest -o faulthandler_timeout=0 tests/torture/test_torture.py -s $(ARGS)

soak: .venv/development.stamp ## An hour of the bank in MINUTES=10 with 40 % faults, then verify; SEED= brings one back
	SOAK_MINUTES=$(MINUTES) SOAK_SEED=$(or $(SEED),4) $(BIN)/python -m pytest -o faulthandler_timeout=0 tests/acceptance/test_soak.py -s $(ARGS)

test-mirror: .venv/development.stamp ## Mirror 200,000 rows while the bank changes them, and compare row for row
	BANKMIRROR_TEST_MIRROR_ROWS=200000 $(BIN)/python -m pytest tests/acceptance/test_mirror.py $(ARGS)

# dlt is for the mirroring alone.
bench: .venv/development.stamp $(if $(filter reads,$(BANKMIRROR_BENCH_ONLY)),,.venv/bench.stamp) ## Measure reads and mirroring beside others; BANKMIRROR_BENCH_ONLY=reads or =mirroring
	$(BIN)/python -m benchmarks

docs: .venv/development.stamp ## Write the reference pages that say what the code says
	PYTHONPATH=. $(BIN)/python docs/generate.py

lock: .venv/development.stamp ## Resolve the dependencies in pyproject.toml into both locks
	$(COMPILE) pyproject.toml -o requirements.lock
	$(COMPILE) --extra dev -c requirements.lock pyproject.toml -o requirements-dev.lock
	$(COMPILE) benchmarks/requirements.in -o benchmarks/requirements.lock

# What others mirror with, for the comparison alone, in an environment of its own: nothing of ours depends on it.
.venv/bench.stamp: .venv/made.stamp benchmarks/requirements.lock
	@echo "Installing what is measured beside us in .venv/bench (once)"
	@$(PYTHON) -m venv --clear .venv/bench
	@.venv/bench/bin/python -m pip --quiet --disable-pip-version-check --no-input install \
	  --require-hashes -r benchmarks/requirements.lock
	@touch $@

clean: ## Remove what make has made; the data in .bankmirror stays
	rm -rf .venv build dist .mypy_cache .pytest_cache .ruff_cache .import_linter_cache .hypothesis .schemathesis
	find . -name __pycache__ -type d -prune -exec rm -rf {} +

help: ## Show this list
	@awk -F ':.*## ' '/^[a-z-]+:.*## / {printf "  make %-12s %s\n", $$1, $$2}' $(MAKEFILE_LIST)

.venv/made.stamp:
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' 2>/dev/null || { \
	  echo "Bankmirror needs Python 3.11 or later, and $(PYTHON) is not that. Name one: make PYTHON=python3.12 ..."; exit 1; }
	@$(PYTHON) -m venv --clear .venv
	@touch $@

.venv/runtime.stamp: .venv/made.stamp requirements.lock pyproject.toml
	@echo "Installing Bankmirror in .venv (once)"
	@awk '/^[^ #]/ {keep = /^($(BACKEND))==/} keep' requirements-dev.lock > .venv/backend.lock
	@$(PIP) install --require-hashes -r requirements.lock -r .venv/backend.lock
	@$(PIP) install --no-deps --no-build-isolation -e .
	@touch $@

.venv/development.stamp: .venv/runtime.stamp requirements-dev.lock
	@echo "Installing the development tools in .venv (once)"
	@$(PIP) install --require-hashes -r requirements-dev.lock
	@touch $@
