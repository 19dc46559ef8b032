# The commands of this project; `make help` lists them.

# Found before the PATH below puts the virtual environment first: it has no pip of its own.
PYTHON := $(or $(PYTHON),$(shell command -v python3))
PORT ?= 3000
VENV := .venv
BIN := $(VENV)/bin
PIP := $(PYTHON) -m pip --python $(BIN)/python --disable-pip-version-check
export PATH := $(CURDIR)/$(BIN):$(PATH)

.DEFAULT_GOAL := help

.PHONY: help
help: ## List the commands
	@sed -n 's/^\([a-z]*\):.*## \(.*\)/\1|\2/p' Makefile | while IFS='|' read -r name text; do \
		printf '  make %-8s %s\n' "$$name" "$$text"; done

.PHONY: run
run: $(VENV)/.run ## Start Temporal, the worker and the API in this terminal; Ctrl-C stops all
	@honcho start --port $(PORT) || [ $$? -eq 130 ]

.PHONY: test
test: $(VENV)/.dev ## Run the tests, with coverage
	pytest -n 2 --dist worksteal -m "not slow" --cov --cov-report=term

.PHONY: schema
schema: $(VENV)/.dev ## Let Schemathesis try what the OpenAPI document allows and forbids
	pytest -m slow

.PHONY: model
model: $(VENV)/.dev ## Run 1,500 random trips against the saga's promises
	pytest tests/saga/test_saga_model.py --hypothesis-profile=thorough --show-capture=no

# For long: make chaos SECONDS=600 TRIPS=2000; again as before: make chaos SEED=7
SECONDS ?= 25
TRIPS ?= 150
.PHONY: chaos
chaos: $(VENV)/.dev ## Kill and freeze the processes under load, then audit every trip
	python -m tests.chaos $(if $(SEED),--seed $(SEED)) --seconds $(SECONDS) --trips $(TRIPS)

# With 50,000 bookings in the stores: make bench BENCH=--full; one section: make bench BENCH=a
.PHONY: bench
bench: $(VENV)/.dev ## Measure the speed, beside what it is compared with, on a quiet machine
	python -m benchmarks $(BENCH)

.PHONY: check
check: $(VENV)/.dev ## Check format, style and types
	ruff format --check .
	ruff check .
	mypy .

.PHONY: lock
lock: $(VENV)/.dev ## Pin what the requirements need in turn
	$(PIP) freeze > constraints.txt

.PHONY: clean
clean: ## Remove the virtual environment and the databases of `make run`
	rm -rf $(VENV) temporal.db* reservations.db*

# pip installs from outside, with --python, so that a Python without ensurepip will do as well.
$(VENV)/bin/python:
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11) and "Python 3.11 or newer is needed")'
	$(PYTHON) -m venv --without-pip $(VENV)

$(VENV)/.run: requirements.txt constraints.txt | $(VENV)/bin/python
	$(PIP) install --quiet -r $<
	@touch $@

$(VENV)/.dev: requirements-dev.txt requirements.txt constraints.txt | $(VENV)/bin/python
	$(PIP) install --quiet -r $<
	@touch $@
