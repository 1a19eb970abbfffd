# `make` lists the targets. Each does the set-up it needs; the second time costs nothing.

SHELL := /bin/bash
.DEFAULT_GOAL := help

# The first interpreter that is new enough; PYTHON=… chooses another. ARGS reach the command that a target runs.
PYTHON ?= $(shell for p in python3 python3.14 python3.13 python3.12 python3.11; do \
	$$p -c 'import sys; sys.exit(sys.version_info < (3, 11))' 2>/dev/null && echo $$p && break; done)
ARGS ?=
BIN := .venv/bin

# Tests start hundreds of processes; without bytecode on the disk each of them compiles all modules anew.
export PYTHONDONTWRITEBYTECODE :=

# Some tests and the benchmarks use llama.cpp's own sources. Only recipes that need them ask for them.
SOURCES = CORRAL_LLAMA_CPP_SOURCE="$${CORRAL_LLAMA_CPP_SOURCE:-$$($(BIN)/python -m scripts.sources)}"

.PHONY: help setup setup-run run test check fmt bench bench-quantize clients docs oracle thorough llama-server-tests fuzz lm-eval cluster-test web-test lock clean python

help: ## this list
	@sed -n 's/^\([a-z-]*\):.*## \(.*\)/\1\t\2/p' $(MAKEFILE_LIST) | expand -t 12

python:
	@test -n "$(PYTHON)" || { echo "no Python 3.11 or newer on PATH: install one (Debian, Ubuntu: apt-get install python3 python3-venv) or say make PYTHON=/path/to/python" >&2; exit 1; }

setup: python ## .venv with everything for development; CMAKE_ARGS="-DGGML_CUDA=on" builds for a GPU
	@$(PYTHON) -m scripts.environment --for dev

setup-run: python
	@$(PYTHON) -m scripts.environment --for run

run: setup-run ## quantize the demo model and serve it on 127.0.0.1:8000; ARGS="--port 9000"
	@$(BIN)/corral quantize demo
	@exec $(BIN)/corral serve demo $(ARGS)

test: setup ## the whole test suite, by two processes; ARGS="-k name"
	@$(SOURCES) $(BIN)/pytest -n 2 --dist loadfile --no-loadscope-reorder $(ARGS)

check: setup ## format, lint, types, import contracts
	$(BIN)/ruff format --check
	$(BIN)/ruff check
	$(BIN)/mypy
	$(BIN)/lint-imports

fmt: setup ## format, and fix what the linter can
	$(BIN)/ruff format
	$(BIN)/ruff check --fix

bench: setup ## measure beside llama-server and llama_cpp.server, see docs/benchmarks.md; ARGS="--only demo -- --rounds 1"
	@$(SOURCES) $(BIN)/python -m bench $(ARGS)

bench-quantize: setup ## measure one pass beside llama.cpp's converter and llama-quantize; ARGS="--types Q8_0"
	@$(PYTHON) -m scripts.environment --for oracle
	@$(SOURCES) $(BIN)/python -m bench.quantize $(ARGS)

docs: setup ## write docs/cli.md from the commands' help, and the packages' indexes from their modules' first lines
	@$(BIN)/python -m scripts.cli_reference
	@$(BIN)/python -m scripts.package_index

oracle: python ## compare with torch, transformers and llama.cpp's own tools, in .venv-oracle
	@$(PYTHON) -m scripts.environment --for oracle
	@export $(subst $(BIN),.venv-oracle/bin,$(SOURCES)) && \
	tools="$${CORRAL_LLAMA_CPP_TOOLS:-$$(.venv-oracle/bin/python -m bench.tools)}" && \
	CORRAL_LLAMA_CPP_TOOLS="$$tools" .venv-oracle/bin/pytest -m oracle $(ARGS)

thorough: setup ## the tests of every member of a kind of which `make test` runs a few, about 20 minutes
	@$(SOURCES) $(BIN)/pytest -m thorough $(ARGS)

clients: setup ## run published clients (agents, SDKs, frameworks) against the server; the first time installs them; ARGS="-k codex"
	@CORRAL_CLIENTS_PAGE="$(if $(ARGS),,docs/clients-tested.md)" $(BIN)/pytest -m clients tests/clients $(ARGS)

web-test: setup ## the web page in Chromium, without any network (Debian: apt-get install chromium); ARGS="-k reload"
	@$(BIN)/pytest -m browser tests/browser $(ARGS)

llama-server-tests: setup ## llama.cpp's own server tests on Corral and on llama-server, see docs/llama-server.md; ARGS="-- unit/test_basic.py"
	@$(SOURCES) $(BIN)/python -m tests.llama_server_suite.run --build --work build/llama-server-tests $(ARGS)

fuzz: setup ## try every wrong value in the headers of all families' files, about an hour; ARGS="-k qwen"
	@CORRAL_ALL_HEADERS=1 $(BIN)/pytest tests/quantize/families/test_headers_that_lie.py $(ARGS)

lm-eval: python ## lm-evaluation-harness against the server, and llama.cpp's own scores, in .venv-lm-eval
	@$(PYTHON) -m scripts.environment --for lm-eval
	@.venv-lm-eval/bin/pytest -s -m lm_eval tests/lm_eval $(ARGS)

cluster-test: python ## a cluster of Ray nodes in network namespaces (needs root), in .venv-cluster; ARGS="-k update"
	@$(PYTHON) -m scripts.environment --for cluster
	@.venv-cluster/bin/pytest -m cluster tests/cluster $(ARGS)

lock: ## write requirements*.lock anew (needs uv); ARGS="--upgrade"
	@$(PYTHON) -m scripts.lock $(ARGS)

clean: ## remove environments and caches; built wheels stay in ~/.cache/corral
	rm -rf .venv .venv-oracle .venv-peer .venv-lm-eval .venv-cluster build dist *.egg-info .mypy_cache .pytest_cache .ruff_cache .import_linter_cache .hypothesis
	find . -name __pycache__ -type d -prune -exec rm -rf {} +
