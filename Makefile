# `make demo` and `make test` need Python 3.11 or later and a C++ compiler; all they install goes into .venv.

PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
SOURCES := pyproject.toml meson.build meson.options $(shell find src -type f -not -name '*.pyc' -not -name '*.so')

.DEFAULT_GOAL := help
.DELETE_ON_ERROR:
.NOTPARALLEL:
.PHONY: help demo quick test test-all lint docs bench clean

help: ## list the commands
	@awk -F ':.*## ' '/^[a-z-]+:.*## / {printf "make %-8s %s\n", $$1, $$2}' $(MAKEFILE_LIST)

demo: $(VENV)/installed-examples ## train a network written by hand on real digits; pictures in examples/output/
	$(BIN)/python examples/digits.py
	@echo "the documentation: make docs, then open docs/_build/html/index.html"

# One process for each processor that there is; a process that has nothing left to do takes tests from another.
PYTEST = $(BIN)/python -m pytest --numprocesses logical --dist worksteal

quick: $(VENV)/installed-test ## run some cases of each test, one or two minutes
	$(PYTEST) --quick

test: $(VENV)/installed-test ## run the test suite on the installed package, every instruction-set level
	$(PYTEST)

test-all: $(VENV)/installed-test ## run what is marked slow, too, about 12 minutes
	$(PYTEST) -m "not exhaustive"

lint: $(VENV)/installed-lint ## check style, types and spelling
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/clang-format --dry-run --Werror $$(git ls-files 'src/kernels/*.h' 'src/kernels/*.cpp')
	$(BIN)/codespell
	$(BIN)/python tools/check_words.py

docs: $(VENV)/installed-docs ## build the documentation into docs/_build/html, look at its pages in Chromium if there is one
	$(BIN)/python -m sphinx -q -n -W --keep-going -b html docs docs/_build/html
	$(BIN)/python -m pytest -p no:cacheprovider tests/docs/test_pages.py
	@echo "open docs/_build/html/index.html"

bench: $(VENV)/installed-bench ## measure speed, accuracy and import time against other libraries, about 10 minutes
	$(BIN)/python benchmarks/accuracy.py
	$(BIN)/python benchmarks/import_time.py
	$(BIN)/python benchmarks/compare.py  # last: its last line says in how many cells a peer is ahead

clean: ## remove what these commands made
	rm -rf $(VENV) build dist docs/_build docs/reference/generated examples/output .hypothesis .mypy_cache .pytest_cache .reference_cache .ruff_cache
	find examples src tests -name __pycache__ -type d -prune -exec rm -rf {} +

# Not editable: the tests are to see what a user installs. What was compiled for one extra is kept for the next; NumPy is
# looked for again, since pip builds with one that it removes afterwards.
KEPT := -Cbuild-dir=build -Csetup-args=--clearcache
$(VENV)/installed-%: $(SOURCES) | $(BIN)/python
	@echo "installing softgrad[$*] into $(VENV): a minute or two the first time"
	@$(BIN)/python -m pip install --quiet --disable-pip-version-check $(KEPT) '.[$*]'
	@touch $@

$(BIN)/python:
	$(PYTHON) -m venv $(VENV)
