# The two commands that matter: `make run` and `make test`. Both make .venv themselves.
.DEFAULT_GOAL := help
.PHONY: run test check bench help format lock docs man clean

PYTHON := $(shell for p in python3.14 python3.13 python3.12 python3.11 python3; do \
	$$p -c 'import sys; sys.exit(sys.version_info < (3, 11))' 2>/dev/null && { echo $$p; break; }; done)
ifeq ($(PYTHON),)
$(error sendback needs Python 3.11 or later on the PATH)
endif
VENV := .venv
BIN := $(VENV)/bin
PIP := $(BIN)/python -m pip --disable-pip-version-check --quiet
INSTALL := $(PIP) install --require-hashes --only-binary :all:

$(VENV)/run.stamp: requirements.lock pyproject.toml
	@test -x $(BIN)/python || $(PYTHON) -m venv $(VENV) || { echo "The venv module is missing: on Debian and Ubuntu install python3-venv."; exit 1; }
	@echo "Installing sendback into $(VENV) ..."
	@$(INSTALL) -r requirements.lock
	@$(PIP) install --no-deps --no-build-isolation -e .
	@touch $@

$(VENV)/dev.stamp: requirements-dev.lock $(VENV)/run.stamp
	@echo "Installing what the tests need ..."
	@$(INSTALL) -r requirements-dev.lock
	@touch $@

run: $(VENV)/run.stamp ## install and start a whole node with embedded defaults
	@exec $(BIN)/sendback serve

test: $(VENV)/dev.stamp ## run every test
	@$(BIN)/python -m pytest -q -n auto --dist loadfile $(TESTS)

check: $(VENV)/dev.stamp ## lint, format, types, storeys, generated files
	@$(BIN)/ruff check .
	@$(BIN)/ruff format --check .
	@$(BIN)/mypy
	@$(BIN)/lint-imports --no-logo 2>/dev/null || $(BIN)/lint-imports
	@$(BIN)/python docs/generate.py --check

bench: $(VENV)/dev.stamp ## the benchmark suite; figures as ratios within one run
	@$(BIN)/python -m tests.bench

docs: $(VENV)/dev.stamp ## write the generated reference pages and the example configuration
	@$(BIN)/python docs/generate.py

man: $(VENV)/dev.stamp ## write the manual pages into build/man
	@$(BIN)/python docs/man.py build/man

format: $(VENV)/dev.stamp ## mend what ruff can mend
	@$(BIN)/ruff check --fix-only -q . ; $(BIN)/ruff format -q .

lock: $(VENV)/run.stamp ## resolve the locks anew from pyproject.toml
	@$(BIN)/python -m piptools compile -q --generate-hashes --strip-extras --allow-unsafe --no-emit-index-url --no-emit-trusted-host --no-emit-find-links --no-emit-options --no-header --extra build -o requirements.lock pyproject.toml
	@$(BIN)/python -m piptools compile -q --generate-hashes --strip-extras --allow-unsafe --no-emit-index-url --no-emit-trusted-host --no-emit-find-links --no-emit-options --no-header --extra build --extra dev -c requirements.lock -o requirements-dev.lock pyproject.toml

clean: ## remove .venv and caches, never data
	@rm -rf $(VENV) .mypy_cache .ruff_cache .pytest_cache .hypothesis

help: ## this list
	@awk -F':.*## ' '/^[a-z]+:.*## /{printf "  make %-8s %s\n", $$1, $$2}' $(MAKEFILE_LIST)
