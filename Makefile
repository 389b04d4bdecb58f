# Quant50. `make help` lists what there is; scripts/setup.sh does the set-up.
#
#   PYTHON=python3.12   the interpreter for .venv (3.11, 3.12 or 3.13)
#   SYSTEM=no           install no system package, only say what is missing

SHELL := /bin/bash
.SHELLFLAGS := -eu -o pipefail -c
.DEFAULT_GOAL := help
MAKEFLAGS += --no-builtin-rules --no-print-directory
export PYTHON SYSTEM

BIN := .venv/bin

.PHONY: help
help: ## show this list
	@awk -F ':.*## ' '/^[a-z-]+:.*## / { printf "  make %-10s %s\n", $$1, $$2 }' $(MAKEFILE_LIST)

.PHONY: setup
setup: ## .venv as the lock pins it, and a browser for the PDF
	@scripts/setup.sh runtime

.PHONY: demo
demo: setup ## set up, train once, run the newest closed session on the simulated market
	@$(BIN)/quant50 demo

.PHONY: test
test: setup-test ## set up and run all tests, with coverage (at least 85 %)
	@$(BIN)/python -m pytest -m "not slow" -n auto --maxprocesses 4 --dist loadfile \
	  --no-loadscope-reorder --cov=quant50lib --cov-report= --cov-fail-under=0 $(ARGS) || [ $$? -eq 5 ]
	@$(BIN)/python -m pytest -m slow -n auto --maxprocesses 2 --dist loadfile \
	  --cov=quant50lib --cov-append --cov-report=term --cov-report=xml $(ARGS) || [ $$? -eq 5 ]

.PHONY: prove
prove: setup-test ## every crash point, every fault at every call, 1,000 pairs: prints what was tried
	@QUANT50_PROOF=all $(BIN)/python -m pytest -q -s --durations=5 tests/proof $(ARGS)

.PHONY: setup-test
setup-test:
	@scripts/setup.sh test

.PHONY: lint
lint: setup-test ## formatting, types, layers, and notebooks without outputs
	@$(BIN)/black --check --quiet . || { $(BIN)/black --check .; exit 1; }
	@$(BIN)/isort --check-only --quiet .
	@$(BIN)/mypy
	@$(BIN)/lint-imports
	@$(BIN)/nbstripout --verify notebooks/*.ipynb

.PHONY: format
format: setup-test ## mend what lint says about formatting
	@$(BIN)/black --quiet .
	@$(BIN)/isort --quiet .
	@$(BIN)/nbstripout notebooks/*.ipynb

.PHONY: lab
lab: ## open JupyterLab on the notebooks, with the runtime's kernel
	@scripts/setup.sh lab
	@scripts/lab.sh $(ARGS)

.PHONY: serve
serve: setup ## the API and its page on loopback
	@$(BIN)/quant50 serve $(ARGS)

.PHONY: bench
bench: setup-test ## measure what the README's table says, and write the table anew
	@$(BIN)/python benchmarks/table.py

.PHONY: bench-peers
bench-peers: setup ## measure features, optimiser and back-test beside their peers, in .venv-bench
	@scripts/setup.sh bench
	@.venv-bench/bin/python benchmarks/peers.py $(ARGS)

.PHONY: research
research: setup-test ## models x validation schemes on the real bars beside the checkout, into the README
	@OMP_NUM_THREADS=1 $(BIN)/python benchmarks/research.py $(ARGS)

.PHONY: power
power: setup-test ## whether planted signals are found, and none where there is none: prints JSON
	@OMP_NUM_THREADS=1 $(BIN)/python benchmarks/power.py $(ARGS)

.PHONY: study
study: setup-test ## back-test every book with and without its rules, and write the README's table (hours)
	@$(BIN)/python benchmarks/study.py $(ARGS)
	@$(BIN)/python benchmarks/study.py --table

.PHONY: risk-forecast
risk-forecast: setup-test ## each part of the risk forecast against the volatility that came, on the real bars beside the checkout
	@OMP_NUM_THREADS=1 $(BIN)/python benchmarks/risk_forecast.py $(ARGS) --table

.PHONY: openapi
openapi: setup ## write the OpenAPI document to build/openapi.json
	@mkdir -p build
	@$(BIN)/python -m quant50lib.api.openapi > build/openapi.json
	@echo build/openapi.json

.PHONY: lock
lock: ## resolve the dependencies anew into the three lock files
	@scripts/lock.sh

.PHONY: clean
clean: ## remove environments and caches; the desk's state (data, models, runs) stays
	rm -rf .venv .venv-* build dist coverage.xml htmlcov .coverage .coverage.* *.egg-info
	rm -rf .mypy_cache .pytest_cache .hypothesis .import_linter_cache
	find . -name __pycache__ -type d -not -path './.git/*' -prune -exec rm -rf {} +
