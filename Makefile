# `make demo` and `make test` are all that a new machine needs: python3 (3.11 or newer, with venv) and make.
# Each first builds .venv from requirements.lock (versions and hashes), with uv if it is there, else with the uv named in the lock.

PYTHON ?= python3
BIN := .venv/bin
READY := .venv/.ready
UV := $(shell uv --version >/dev/null 2>&1 && echo uv || echo $(BIN)/uv)

# A notebook that keeps its outputs is compared with them; the others only have to run.
NOTEBOOKS := $(wildcard notebooks/*.ipynb)
KEPT := $(if $(NOTEBOOKS),$(shell grep -l '"output_type"' $(NOTEBOOKS)))
LAX := $(filter-out $(KEPT),$(NOTEBOOKS))
NBVAL := QTKIT_HOME="$$home" $(BIN)/pytest --nbval-current-env --nbval-cell-timeout 120

.DEFAULT_GOAL := help
.PHONY: help setup demo test check lab bench bench-peers night lock

help: ## this list
	@awk -F ':.*## ' '/^[a-z-]+:.*## / {printf "  make %-11s %s\n", $$1, $$2}' $(MAKEFILE_LIST)

setup: $(READY) ## build .venv from the lock

demo: $(READY) ## the desk against the embedded exchange: no keys, no network
	@$(BIN)/qtkit demo

test: check ## everything: lint, types, tests, notebooks
	$(BIN)/pytest -n auto --dist loadfile
	@home=$$(mktemp -d) && trap 'rm -rf "$$home"' EXIT && set -ex && \
	$(if $(KEPT),$(NBVAL) --nbval $(KEPT),:) && $(if $(LAX),$(NBVAL) --nbval-lax $(LAX),:)

check: $(READY) ## lint, format and types
	$(BIN)/ruff check
	$(BIN)/ruff format --check
	$(BIN)/mypy

lab: $(READY) ## JupyterLab on the tour, on loopback only
	@$(BIN)/jupyter lab notebooks/tour.ipynb --ip=127.0.0.1 --LabApp.news_url=None \
		--LabApp.check_for_updates_class=jupyterlab.NeverCheckForUpdate

bench: $(READY) ## measurements
	$(BIN)/pytest -m bench -s --timeout 0

bench-peers: export QTKIT_BENCH_PEERS ?= $(wildcard ../shared/bench-peers)
bench-peers: $(READY) ## vectorbt and nautilus_trader beside a sweep, by the scripts in QTKIT_BENCH_PEERS
	@$(BIN)/python -m tests.bench.peers

night: $(READY) ## long seeds and soaks
	$(BIN)/pytest -m night --timeout 0

lock: $(READY) ## bring requirements.lock in line with pyproject.toml; UPGRADE=1 takes the newest versions
	$(BIN)/uv pip compile pyproject.toml --group build --all-extras --universal --python-version 3.11 --generate-hashes \
		--no-header --no-annotate --no-emit-index-url --quiet $(if $(UPGRADE),--upgrade) --output-file requirements.lock

$(READY): pyproject.toml requirements.lock
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' 2>/dev/null || { \
		echo "qtkit needs Python 3.11 or newer, and $(PYTHON) is $$($(PYTHON) --version 2>/dev/null || echo missing);" \
		"with another one on the machine: 'make PYTHON=python3.12 setup'" >&2; exit 1; }
	@echo "building .venv from requirements.lock"
	@if ! $(BIN)/python -c '' 2>/dev/null; then \
		if [ "$(UV)" != "$(BIN)/uv" ]; then $(PYTHON) -m venv --clear --without-pip .venv; \
		elif $(PYTHON) -c 'import ensurepip, venv' 2>/dev/null; then $(PYTHON) -m venv --clear .venv; \
		else echo "qtkit needs the venv module of $(PYTHON): on Debian and Ubuntu, 'apt-get install python3-venv'" >&2; exit 1; fi; fi
	@if ! $(UV) --version >/dev/null 2>&1; then \
		awk '/^uv==/ {on = 1} on {print} on && !/\\$$/ {exit}' requirements.lock > .venv/uv.lock && \
		$(BIN)/python -m pip install --quiet --disable-pip-version-check --require-hashes -r .venv/uv.lock; fi
	@$(UV) pip sync --quiet --compile-bytecode --python $(BIN)/python --require-hashes requirements.lock
	@$(UV) pip install --quiet --python $(BIN)/python --no-deps --no-build-isolation -e .
	@touch $@
