# make repro: the whole pipeline.  make test: every check.  Both install what they need into .venv, once.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
# dvc runs `ssl-pipeline ...`, which has to be the environment's own.
RUN := PATH="$(CURDIR)/$(BIN):$$PATH"

.PHONY: repro test lint clean help

help:
	@sed -n '1p' Makefile

repro: $(BIN)/.installed
	@git rev-parse --is-inside-work-tree >/dev/null 2>&1 || $(BIN)/dvc config --local core.no_scm true
	@$(RUN) dvc repro
	@$(BIN)/ssl-pipeline summary

test: $(BIN)/.installed-test
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

clean:
	rm -rf .work data models reports dvc.lock
