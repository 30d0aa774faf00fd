# Bare `make` prints this menu. `make demo` and `make test` are all that a newcomer needs.
PYTHON ?= python3
VENV ?= .venv
BIN := $(VENV)/bin
STAMP := $(VENV)/.installed
OUT ?= demo
DATA ?=
DEMO ?=
PYTEST := $(BIN)/python -m pytest

menu:
	@grep -E '^[a-z-]+:.*## ' $(MAKEFILE_LIST) | sed -E 's/:.*## /\t/' | expand -t 16

$(STAMP): setup.cfg pyproject.toml
	test -x $(BIN)/python || $(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install -q --upgrade pip
	$(BIN)/python -m pip install -q torch==2.13.0
	$(BIN)/python -m pip install -q -e '.[dev]'
	touch $@

install: $(STAMP) ## make the virtual environment with everything in it

demo: MINUTES ?= 2.5
demo: $(STAMP) ## train, export, calibrate and run a station; DATA=DIR: your own images, MINUTES=10: longer training
	$(BIN)/python -m scripts.demo --out '$(OUT)' --minutes $(MINUTES) $(if $(DATA),--data '$(DATA)') $(DEMO)

test: check test-fast ## everything that this machine can run in a few minutes

check: $(STAMP) ## format, lint, types, import contracts
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/mypy
	$(BIN)/lint-imports

test-fast: $(STAMP) ## the fast tests alone
	$(PYTEST) -q -n 2 --dist loadfile -m "not slow and not devices and not gpu"

test-slow: $(STAMP) ## the slow tests: soak, fuzz, training, a real sshd, broker and browser
	$(PYTEST) -q -n 2 --dist loadfile -m "slow and not devices and not gpu"

test-again: $(STAMP) ## what failed last, once more and alone
	$(PYTEST) -q --last-failed --last-failed-no-failures none

test-devices: $(STAMP) ## a virtual machine with a real V4L2 camera, GPIO chip and serial port
	$(PYTEST) -q -m devices tests/devices

soak: MINUTES ?= 30
soak: $(STAMP) ## a station under injected faults for MINUTES minutes
	$(BIN)/python -m tests.soak $(MINUTES)

screenshots: $(STAMP) ## take the manual's pictures of the station page anew: the demo's model in a real browser
	$(BIN)/python -m scripts.screenshots --bundle '$(OUT)/bolt.edge'

wheelhouse: $(STAMP) ## the device's wheels for aarch64, for a station without internet
	$(BIN)/python -m export.wheelhouse wheelhouse

clean: ## remove what the other targets made, but for the virtual environment
	rm -rf $(OUT) wheelhouse build dist *.egg-info .mypy_cache .ruff_cache .pytest_cache .hypothesis

.PHONY: menu install demo test check test-fast test-slow test-again test-devices soak screenshots wheelhouse clean
