# Every target sets up what it needs in .venv first.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin

.PHONY: setup demo demo-cluster test test-processes test-virtual check fmt bench sim chaos

setup: $(VENV)/.ready

$(VENV)/.ready: pyproject.toml
	$(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --disable-pip-version-check -e '.[dev]'
	touch $@

demo: setup
	$(BIN)/python examples/demo.py

# Needs etcd, MariaDB, HAProxy and Prometheus, and says how to get what is missing.
demo-cluster: setup
	$(BIN)/python examples/demo_cluster.py

# Two shares at a time: what waits for real processes, and what only computes, which yields to it
# and whose report comes in one piece when it is done.
VIRTUAL := tests/unit tests/property tests/simulation
VIRTUAL_REPORT := $(VENV)/virtual.txt

test: setup
	$(MAKE) --no-print-directory --keep-going --jobs=2 test-processes test-virtual

test-processes: setup
	$(BIN)/python -m pytest tests $(VIRTUAL:%=--ignore=%)

test-virtual: setup
	@nice -n 10 $(BIN)/python -m pytest $(VIRTUAL) --timeout 600 >$(VIRTUAL_REPORT) 2>&1; \
		status=$$?; cat $(VIRTUAL_REPORT); exit $$status

check: setup
	$(BIN)/ruff format --check src tests benchmarks examples
	$(BIN)/ruff check src tests benchmarks examples
	$(BIN)/mypy
	$(BIN)/lint-imports

fmt: setup
	$(BIN)/ruff format src tests benchmarks examples
	$(BIN)/ruff check --fix src tests benchmarks examples

bench: setup
	$(BIN)/python -m benchmarks $(ARGS)

# Seeds from 0 on; or one of them alone, with all that happened: make sim SEED=123
SEEDS ?= 1000
sim: setup
	$(BIN)/python -m mishards.testing.seeds $(if $(SEED),--seed $(SEED),--seeds $(SEEDS))

# The long variants of the fault tests, which `make test` leaves out; ENDURE=7200 for two hours of
# mixed load and faults.
ENDURE ?= 60
chaos: setup
	$(BIN)/python -m pytest tests/faults -m slow --timeout 600 --endure $(ENDURE)
