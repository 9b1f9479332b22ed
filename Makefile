# Everything a contributor types. `make` alone lists it.
.DEFAULT_GOAL := help
SHELL := /bin/bash
.DELETE_ON_ERROR:

VENV := .venv
BIN := $(VENV)/bin
STAMP := $(VENV)/.set-up
# A Python of your choice: make setup PYTHON=python3.12
PYTHON ?=
# More for pytest or the benchmarks: make test ARGS="-k quorum -x"
ARGS ?=

.PHONY: help
help: ## list what can be made
	@awk -F ':.*## ' '/^[a-z0-9-]+:.*## / { printf "  %-13s %s\n", $$1, $$2 }' $(MAKEFILE_LIST)

.PHONY: setup
setup: $(STAMP) ## create .venv with everything in it; does nothing the second time

# 3.11 to 3.13 come first: for these the measured version of grpcio has ready-made wheels (docs/dependencies.md).
$(STAMP): pyproject.toml Makefile
	@set -e; \
	suits() { "$$1" -c 'import sys; sys.exit(not (3, 11) <= sys.version_info[:2] <= ('"$$2"'))' 2>/dev/null; }; \
	python=""; \
	for limit in "3, 13" "3, 99"; do \
	  for candidate in $(if $(PYTHON),"$(PYTHON)",python3 python3.13 python3.12 python3.11 python3.14 python /usr/bin/python3); do \
	    if [ -z "$$python" ] && suits "$$candidate" "$$limit"; then python="$$candidate"; fi; \
	  done; \
	done; \
	if [ -z "$$python" ]; then \
	  echo "make setup: no Python >= 3.11 found$(if $(PYTHON), as $(PYTHON)); install one or name it: make setup PYTHON=..." >&2; exit 1; \
	fi; \
	if ! [ -x $(BIN)/python ] || ! suits $(BIN)/python "3, 99" || ! $(BIN)/python -m pip --version >/dev/null 2>&1; then \
	  echo "creating $(VENV) with $$("$$python" --version)"; \
	  "$$python" -m venv --clear $(VENV) || { \
	    echo "make setup: $$python cannot create environments; on Debian and Ubuntu: apt-get install python3-venv" >&2; exit 1; }; \
	fi
	$(BIN)/python -m pip install --quiet --disable-pip-version-check -e '.[dev]'
	@if git rev-parse --git-dir >/dev/null 2>&1 && [ -z "$$CI" ]; then \
	  $(BIN)/pre-commit install >/dev/null || echo "make setup: the pre-commit hook could not be installed; make fmt formats too" >&2; \
	fi
	@touch $@

.PHONY: demo
demo: setup ## three real nodes: put, get, kill the leader, go on
	$(BIN)/python examples/demo.py

.PHONY: fmt
fmt: setup ## format and fix what can be fixed
	$(BIN)/ruff check --fix --show-fixes .
	$(BIN)/ruff format .

.PHONY: lint
lint: setup ## style, import rules, generated code
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/lint-imports
	$(BIN)/python protos/generate.py --check

.PHONY: types
types: setup ## mypy, strict
	$(BIN)/mypy
	$(BIN)/mypy examples/*.py protos/generate.py

.PHONY: test
test: setup ## all tests but the long ones
	$(BIN)/pytest -n auto --maxprocesses 4 --dist loadfile --no-loadscope-reorder -m "not long" $(ARGS)

.PHONY: e2e
e2e: setup ## the long tests: kills by the hundred, real processes
	$(BIN)/pytest -m long $(ARGS)

.PHONY: sim
sim: setup ## thousands of simulated seeds under every fault, and every graph of five nodes
	$(BIN)/kv-sim check --seeds 5000 --fired-min 100 $(ARGS)
	$(BIN)/kv-sim connectivity

.PHONY: cover
cover: setup ## all tests but the long ones, with branch coverage; a report in htmlcov/
	$(BIN)/coverage erase
	$(BIN)/coverage run -m pytest -m "not long" $(ARGS)
	$(BIN)/coverage html --quiet
	$(BIN)/coverage report --skip-covered

.PHONY: protos
protos: setup ## generate the protobuf modules anew after a change of a .proto file
	$(BIN)/python protos/generate.py

.PHONY: bench
bench: setup ## measure this store; writes docs/performance.md. A first look: make bench ARGS=--quick
	$(BIN)/python -m benchmarks $(ARGS)

.PHONY: bench-compare
bench-compare: setup ## measure it beside etcd, ZooKeeper and PySyncObj, whichever are installed; says what is missing
	$(BIN)/python -m benchmarks.compare $(ARGS)

.PHONY: check
check: lint types test ## what CI checks

.PHONY: clean
clean: ## remove what was made, .venv included
	rm -rf $(VENV) build dist htmlcov .coverage* .mypy_cache .ruff_cache .pytest_cache .hypothesis .import_linter_cache *.egg-info
