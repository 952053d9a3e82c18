# make up    from a bare machine to a proven container     make test   every test     make venv   only .venv/bin/provision
SHELL := /bin/bash
.SHELLFLAGS := -euo pipefail -c
.DEFAULT_GOAL := help
PYTHON ?= $(shell command -v python3.11 || command -v python3 || echo python3)
LOCK := lockfiles/tool-py311.txt
TEST_LOCK := lockfiles/test-py311.txt
SMOKE_LOCK := lockfiles/smoke-cpu-py311.txt
FUZZ_LOCK := lockfiles/fuzz-py311.txt
FUZZ_RUNS ?= 500000
PIP_QUIET := -qq --disable-pip-version-check

help:  ## what there is
	@grep -hE '^[a-z-]+:.*##' $(MAKEFILE_LIST) | sed -E 's/:[^#]*## /\t/' | expand -t 20

up: venv  ## diagnose this machine, install what is missing, build the container, prove it
	@exec .venv/bin/provision up

venv: .venv/.tool  ## .venv with .venv/bin/provision in it, from the project's own lock

.venv/.tool: $(LOCK) pyproject.toml
	@$(PYTHON) .ci/python_is_new_enough.py
	@echo "Making .venv from $(LOCK)" >&2
	@$(PYTHON) -m venv .venv
	@.venv/bin/python -m pip install $(PIP_QUIET) --require-hashes -r $(LOCK)
	@.venv/bin/python -m pip install $(PIP_QUIET) --no-deps --no-build-isolation --no-index -e .
	@touch $@

.venv/.test: .venv/.tool $(TEST_LOCK)
	@echo "Adding $(TEST_LOCK)" >&2
	@.venv/bin/python -m pip install $(PIP_QUIET) --require-hashes -r $(TEST_LOCK)
	@touch $@

.venv-smoke/.made: $(SMOKE_LOCK)
	@$(PYTHON) .ci/python_is_new_enough.py
	@echo "Making .venv-smoke from $(SMOKE_LOCK): torch, for the proofs' own tests" >&2
	@$(PYTHON) -m venv .venv-smoke
	@.venv-smoke/bin/python -m pip install $(PIP_QUIET) --require-hashes -r $(SMOKE_LOCK)
	@touch $@

test: .venv/.test .venv-smoke/.made  ## lint, types, every test
	@$(MAKE) --no-print-directory lint
	@PROVISION_SMOKE_PYTHON="$(CURDIR)/.venv-smoke/bin/python" .venv/bin/python -m pytest $(PYTEST_ARGS)

lint: .venv/.test  ## ruff, mypy --strict, ansible-lint (production profile)
	@.venv/bin/ruff check .
	@.venv/bin/ruff format --check .
	@.venv/bin/mypy
	@PATH="$(CURDIR)/.venv/bin:$$PATH" .venv/bin/ansible-lint --offline --profile production -q -c playbooks/.ansible-lint playbooks

test-gpu: venv  ## facts, doctor and proofs on the machine at hand, with the torch that is there; no Docker, no network
	@.venv/bin/provision facts -o /dev/null
	@.venv/bin/provision doctor || test $$? -eq 1
	@exec .venv/bin/provision verify --here

.venv-fuzz/.made: $(FUZZ_LOCK)
	@$(PYTHON) .ci/python_is_new_enough.py
	@echo "Making .venv-fuzz from $(FUZZ_LOCK): the fuzzer" >&2
	@$(PYTHON) -m venv .venv-fuzz
	@.venv-fuzz/bin/python -m pip install $(PIP_QUIET) --require-hashes -r $(FUZZ_LOCK)
	@touch $@

fuzz: .venv-fuzz/.made  ## fuzz what reads pasted text, snapshots and checkpoints, FUZZ_RUNS executions each (minutes)
	@.venv-fuzz/bin/python tests/fuzz/pasted.py -runs=$(FUZZ_RUNS)
	@.venv-fuzz/bin/python tests/fuzz/snapshots.py -runs=$(FUZZ_RUNS)
	@.venv-fuzz/bin/python tests/fuzz/safetensors.py -runs=$(FUZZ_RUNS)
	@.venv-fuzz/bin/python tests/fuzz/gguf.py -runs=$(FUZZ_RUNS)
	@.venv-fuzz/bin/python tests/fuzz/indexes.py -runs=$(FUZZ_RUNS)

bench: .venv/.test .venv-smoke/.made  ## time provision against named peers in one run; writes docs/measured.md
	@PROVISION_SMOKE_PYTHON="$(CURDIR)/.venv-smoke/bin/python" .venv/bin/python -m pytest tests/bench -q -s --run-bench

test-offline: .venv/.test  ## a bundle brings a bare machine up without a network, and nothing leaves it (minutes)
	@.venv/bin/python -m pytest tests/offline --run-offline --durations=0 $(PYTEST_ARGS)

VM_TESTS ?= tests/vm
test-vm: .venv/.test  ## the roles on a server with systemd, in a virtual machine (many minutes under emulation)
	@.venv/bin/python -m pytest $(VM_TESTS) --run-vm --durations=0 $(PYTEST_ARGS)

locks: venv  ## make every lock again
	@.venv/bin/provision lock

CROSSCHECK ?= smoke-cpu-py311 smoke-cu130-py311
locks-crosscheck: venv  ## the same pins from uv and from pip-tools, for CROSSCHECK: one CPU and one GPU lock (minutes)
	@.venv/bin/provision lock --crosscheck $(CROSSCHECK)

collector: venv  ## provision-facts.pyz: one file that prints another machine's snapshot, under any Python 3.10
	@.venv/bin/provision facts --collector provision-facts.pyz

pages: venv  ## regenerate what is generated from code
	@.venv/bin/provision explain --readme > checks/README.md.new && mv checks/README.md.new checks/README.md
	@.venv/bin/python -m tests.choice_matrix > tests/choice_matrix.txt.new && mv tests/choice_matrix.txt.new tests/choice_matrix.txt
	@.venv/bin/python tests/machines/record.py

clean:  ## remove what the targets above made in this folder
	@rm -rf .venv .venv-smoke .venv-fuzz .nox build dist provision-facts.pyz *.egg-info .pytest_cache .mypy_cache .ruff_cache

.PHONY: help up venv test lint test-gpu test-offline test-vm fuzz bench locks locks-crosscheck collector pages clean
