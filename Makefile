# Daily habits. `make up` on a fresh clone ends with the example's orders delivered; `make test` runs everything.
SHELL := /bin/bash
PYTHON ?= python3
BIN := .venv/bin
STAMP := .venv/.stamp
# The tests wait for real engines most of the time: more processes than cores.
WORKERS ?= 4

.PHONY: up down test lint bench docs lab lab-down

up: $(STAMP)
	$(BIN)/arintctl up
	$(BIN)/arintctl demo orders

down: $(STAMP)
	$(BIN)/arintctl down

test: $(STAMP)
	$(BIN)/pytest -n $(WORKERS) --dist loadfile -m "not chaos"
	$(BIN)/pytest -m chaos -s

# Three machines to play with, until Ctrl-C or `make lab-down`; needs root.
lab: $(STAMP)
	$(BIN)/python -m tests.lab

lab-down: $(STAMP)
	$(BIN)/python -m tests.lab --down

lint: $(STAMP)
	$(BIN)/ruff check .
	$(BIN)/mypy
	$(BIN)/lint-imports

bench: $(STAMP)
	$(BIN)/python -m bench

docs: $(STAMP)
	$(BIN)/python -m arintctl.reference
	$(BIN)/python -m docs.generate

$(STAMP): pyproject.toml constraints.txt
	$(PYTHON) -m venv .venv
	$(BIN)/pip install --quiet -c constraints.txt -e '.[dev]'
	touch $@
