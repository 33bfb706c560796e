# `make` lists the targets. The requirements of a target are installed into .venv once.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
# DVC runs `ssl-pipeline ...`, which must be the command of this environment.
RUN := PATH="$(CURDIR)/$(BIN):$$PATH"

# Packages that benchmarks compare with are installed in a separate environment.
PEERS := $(VENV)/peers
BENCH := $(PEERS)/bin/python -m benchmarks run $(if $(DATA),--data "$(DATA)")

.PHONY: help repro watch test site bench bench-long clean

help: ## list the targets
	@sed -n 's/^\([a-z-]*\):.*## /\1\t/p' Makefile | expand -t 12

repro: $(BIN)/.installed ## run the pipeline, or only the stages affected by changes, and print the results
	@git rev-parse --is-inside-work-tree >/dev/null 2>&1 || $(BIN)/dvc config --local core.no_scm true
	@$(RUN) dvc repro
	@$(BIN)/ssl-pipeline summary

watch: $(BIN)/.installed ## evaluate the newest checkpoint of a pretraining run in progress
	@$(BIN)/ssl-pipeline watch

test: $(BIN)/.installed-test ## run every check: ruff, mypy, layers, pytest
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/lint-imports
	OMP_NUM_THREADS=1 $(BIN)/python -m pytest --numprocesses 2 --dist loadfile --no-loadscope-reorder

site: $(BIN)/.installed-docs ## build the documentation into dist/site/, offline, and check every link
	@NO_MKDOCS_2_WARNING=1 $(BIN)/python -m mkdocs build --strict

bench: $(PEERS)/.installed ## measure ratios on an idle machine in less than half an hour, for docs/benchmarks.md
	@$(BENCH)

bench-long: $(PEERS)/.installed ## measure races and seeds, in hours; DATA=FOLDER contains cifar10/ and clothing/
	@$(BENCH) --long

$(BIN)/python:
	$(PYTHON) -m venv $(VENV)

$(BIN)/.installed: pyproject.toml constraints.txt | $(BIN)/python
	$(BIN)/python -m pip install --quiet --constraint constraints.txt --editable .
	@touch $@

$(BIN)/.installed-test: pyproject.toml constraints.txt | $(BIN)/python
	$(BIN)/python -m pip install --quiet --constraint constraints.txt --editable '.[test]'
	@touch $@ $(BIN)/.installed $(BIN)/.installed-docs

$(BIN)/.installed-docs: pyproject.toml constraints.txt | $(BIN)/python
	$(BIN)/python -m pip install --quiet --constraint constraints.txt --editable '.[docs]'
	@touch $@ $(BIN)/.installed

$(PEERS)/.installed: pyproject.toml constraints.txt
	$(PYTHON) -m venv $(PEERS)
	$(PEERS)/bin/python -m pip install --quiet --constraint constraints.txt --editable '.[benchmarks]'
	@touch $@

clean: ## remove all products, including checkpoints of unfinished runs
	rm -rf .work data models reports dvc.lock
