# `make` lists what there is to make. What a target needs is installed into .venv, once.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
# dvc runs `ssl-pipeline ...`, which has to be the environment's own.
RUN := PATH="$(CURDIR)/$(BIN):$$PATH"

.PHONY: help repro watch test clean

help: ## list the targets
	@sed -n 's/^\([a-z]*\):.*## /\1\t/p' Makefile

repro: $(BIN)/.installed ## run the whole pipeline, or what of it has changed, and say what it found
	@git rev-parse --is-inside-work-tree >/dev/null 2>&1 || $(BIN)/dvc config --local core.no_scm true
	@$(RUN) dvc repro
	@$(BIN)/ssl-pipeline summary

watch: $(BIN)/.installed ## judge the newest checkpoint of a pretraining in progress
	@$(BIN)/ssl-pipeline watch

test: $(BIN)/.installed-test ## run every check: ruff, mypy, layers, pytest
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/lint-imports
	OMP_NUM_THREADS=1 $(BIN)/python -m pytest --numprocesses 2 --dist loadfile --no-loadscope-reorder

$(BIN)/python:
	$(PYTHON) -m venv $(VENV)

$(BIN)/.installed: pyproject.toml constraints.txt | $(BIN)/python
	$(BIN)/python -m pip install --quiet --constraint constraints.txt --editable .
	@touch $@

$(BIN)/.installed-test: pyproject.toml constraints.txt | $(BIN)/python
	$(BIN)/python -m pip install --quiet --constraint constraints.txt --editable '.[test]'
	@touch $@ $(BIN)/.installed

clean: ## remove all products, checkpoints of unfinished runs among them
	rm -rf .work data models reports dvc.lock
