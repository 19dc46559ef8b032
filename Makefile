# The commands of this project; `make help` lists them.

# Programs of the virtual environment are named by their path: GNU make 3.81, which macOS has, looks
# up what it starts without a shell on its caller's PATH. The path is relative: the project's folder
# may have any name.
PORT ?= 3000
VENV := .venv
BIN := $(VENV)/bin
RUN := $(BIN)/python -m

.DEFAULT_GOAL := help

.PHONY: help
help: ## List the commands
	@sed -n 's/^\([a-z]*\):.*## \(.*\)/\1|\2/p' Makefile | while IFS='|' read -r name text; do \
		printf '  make %-11s %s\n' "$$name" "$$text"; done

# With suppliers that are a service of their own, simulated: make run SUPPLIERS=http
PROCESSES := api worker temporal
SUPPLIERS_PORT ?= 3001
ifeq ($(SUPPLIERS),http)
PROCESSES += suppliers
SETTINGS = SUPPLIERS_PORT=$(SUPPLIERS_PORT) PAGE_EXAMPLES=simulator SUPPLIERS_URL=http://127.0.0.1:$(SUPPLIERS_PORT)
else ifneq ($(SUPPLIERS),)
$(error SUPPLIERS is http, or nothing)
endif

.PHONY: run
run: migrate ## Start Temporal, the worker and the API in this terminal; Ctrl-C stops all
	@PATH="$(BIN):$$PATH" env API_PORT=$(PORT) $(SETTINGS) $(BIN)/python -m lifecycle start --port $(PORT) $(PROCESSES) || [ $$? -eq 130 ]

.PHONY: crash
crash: $(VENV)/.run ## While `make run` runs: kill the worker within a trip, and see the trip booked
	@env $(SETTINGS) $(RUN) honcho run $(RUN) tests.crash

.PHONY: migrate
migrate: $(VENV)/.run ## Bring the database's schema up to date
	@env $(SETTINGS) $(RUN) honcho run $(RUN) record

# Of a caller that was renamed: make handover FROM=shop TO=store; of trips that were booked without
# API_KEYS: make handover FROM=anonymous TO=shop
.PHONY: handover
handover: $(VENV)/.run ## Hand the trips of an owner to another one
	@env $(SETTINGS) $(RUN) honcho run $(RUN) record hand-over $${FROM+"--from=$$FROM"} $${TO+"--to=$$TO"}

# Exits with 1 when there are differences, with 2 when not all could be asked (make turns both into 2).
# Every trip, not only those that have changed since the last audit: make audit ALL=yes
.PHONY: audit
audit: $(VENV)/.run ## Compare the record, Temporal and the suppliers, and say what differs
	@env $(SETTINGS) $(RUN) honcho run $(RUN) audit $(if $(ALL),--all)

# With coverage, and at least as much as pyproject.toml asks for: make test COVERAGE=yes
.PHONY: test
test: $(VENV)/.dev ## Run the tests
	$(RUN) pytest -rfEs -n 4 --dist worksteal -m "not slow" $(if $(COVERAGE),--cov --cov-report=term)

.PHONY: slow
slow: $(VENV)/.dev ## Run the slow tests: processes that die, databases that freeze, Schemathesis
	$(RUN) pytest -rfEs -n 3 --dist loadfile -m slow

# A language whose programs are missing is left out, unless it is named: make clients LANGUAGES="go php"
.PHONY: clients
clients: $(VENV)/.dev $(VENV)/.clients ## Make clients of the API in five languages and book with each
	$(RUN) tests.clients $(LANGUAGES)

.PHONY: model
model: $(VENV)/.dev ## Run 1,500 random trips against the saga's promises
	$(RUN) pytest tests/saga/test_saga_model.py --hypothesis-profile=thorough --show-capture=no

# For long: make chaos SECONDS=600 TRIPS=2000; again as before: make chaos SEED=7; with suppliers that
# are a service of their own: make chaos SUPPLIERS=http; of one mode: make chaos SUPPLIERS=http MODE=keeps
SECONDS ?= 25
TRIPS ?= 150
.PHONY: chaos
chaos: $(VENV)/.dev ## Kill and freeze the processes under load, then audit every trip
	$(RUN) tests.chaos $(if $(SEED),--seed $(SEED)) --seconds $(SECONDS) --trips $(TRIPS) \
		$(if $(SUPPLIERS),--suppliers $(SUPPLIERS)) $(if $(MODE),--mode $(MODE))

# One row: make hardship ROWS=far
.PHONY: hardship
hardship: $(VENV)/.dev ## Starve, delay, stop and kill the worker under load: no trip may be rolled back
	$(RUN) tests.hardship $(ROWS)

# With 50,000 bookings in the stores: make bench BENCH=--full; one section: make bench BENCH=a
.PHONY: bench
bench: $(VENV)/.dev ## Measure the speed, beside what it is compared with, on a quiet machine
	$(RUN) benchmarks $(BENCH)

.PHONY: screenshots
screenshots: $(VENV)/.dev ## Take the README's pictures of the pages, from a run of the service
	$(RUN) tests.pages.browser.screenshots

.PHONY: check
check: $(VENV)/.dev ## Check format, style, types, who imports whom, licences, deploy/
	$(RUN) ruff format --check .
	$(RUN) ruff check .
	$(RUN) mypy .
	$(RUN) tach check
	$(BIN)/zizmor --offline --quiet --pedantic .github/workflows
	$(RUN) check_jsonschema --builtin-schema vendor.github-workflows .github/workflows/*.yml
	$(RUN) check_jsonschema --builtin-schema vendor.renovate renovate.json
	$(RUN) piplicenses --packages $$(sed -n 's/==.*//p' requirements/service.txt) >/dev/null
	$(BIN)/hadolint deploy/Dockerfile
	$(BIN)/shellcheck .ci/run deploy/compose/*.sh
	$(RUN) check_jsonschema --builtin-schema vendor.compose-spec deploy/compose.yaml
	@if docker compose version >/dev/null 2>&1; then docker compose -f deploy/compose.yaml config --quiet; \
		elif command -v docker-compose >/dev/null; then \
			sed '/^name:/d; /env_file:/d' deploy/compose.yaml | docker-compose -f - --project-directory deploy config --quiet; \
		else echo "Compose itself does not check its file: docker compose is missing"; fi
	$(RUN) pytest -q -rs -m "not slow" tests/deploy/test_image.py tests/deploy/test_kubernetes.py
	@if command -v promtool >/dev/null; then promtool check config deploy/prometheus/prometheus.yml; \
		else echo "The alerts are not checked: promtool is missing (apt-get install prometheus)"; fi

# Keeps what is pinned already, unless asked for the newest: make lock UPGRADE=yes
# The options have a `=` each, and long names: Renovate reads them in the heads of the files.
COMPILE = $(RUN) uv pip compile --quiet --universal --python-version=3.11 --generate-hashes $(if $(UPGRADE),--upgrade)
# requirements.txt has the versions, dev.txt those of all that it needs in turn; the others follow it.
.PHONY: lock
lock: $(VENV)/.dev ## Pin what the requirements need in turn, with hashes
	$(COMPILE) --output-file=requirements/dev.txt requirements/dev.in
	$(COMPILE) --constraints=requirements/dev.txt --output-file=requirements/clients.txt requirements/clients.in
	$(COMPILE) --constraints=requirements/dev.txt --output-file=requirements/run.txt requirements/run.in
	$(COMPILE) --constraints=requirements/dev.txt --output-file=requirements/service.txt requirements/service.in

# Asks the package index, which not every mirror answers; .github/workflows does so weekly.
.PHONY: advisories
advisories: $(VENV)/.dev ## Ask for known vulnerabilities of all packages
	$(RUN) pip_audit --strict --disable-pip --require-hashes -r requirements/dev.txt

.PHONY: clean
clean: ## Remove the virtual environment and the databases of `make run`
	rm -rf $(VENV) temporal.db* reservations.db* suppliers.db*

# The virtual environment is made by the first Python that will do: python3, python, or what lies
# beneath one of them that is itself a virtual environment, without pip. ensurepip is not needed.
USABLE := import sys, importlib.util as i; sys.exit(sys.version_info < (3, 11) or not i.find_spec("pip"))
$(BIN)/pip:
	@for python in "$${PYTHON:-python3}" "$${PYTHON:-python}"; do \
		base=$$("$$python" -c 'import sys; print(sys._base_executable)' 2>/dev/null) || continue; \
		for python in "$$python" "$$base"; do \
			"$$python" -c '$(USABLE)' 2>/dev/null || continue; \
			set -ex; \
			"$$python" -m venv --without-pip $(VENV); \
			exec "$$python" -m pip --python $(BIN)/python install --quiet pip; \
		done; \
	done; \
	echo "Needed: Python 3.11 or newer with pip, as $${PYTHON:-python3 or python}." \
		"Name yours: make PYTHON=/path/to/python3" >&2; \
	exit 1

# A validating proxy, and Temporal's client in TypeScript, run by the node of requirements/clients.txt.
# No package's install script is run.
$(VENV)/.node: $(VENV)/.clients
	$(BIN)/npm install --silent --no-save --ignore-scripts --prefix $(VENV)/node @stoplight/prism-cli@5.16.0 @temporalio/client@1.24.0
	@touch $@

$(VENV)/.%: requirements/%.txt | $(BIN)/pip
	$(RUN) pip --disable-pip-version-check install --quiet --require-hashes -r $<
	@touch $@
