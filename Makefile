# Everything runs inside .venv, made on first use; PYTHON chooses the interpreter for it.
PYTHON ?= python3
VENV ?= .venv
BIN = $(VENV)/bin
N ?= 10000
# MEMORY=256MiB (N=1000: 80MiB) gives the demo's service a memory limit, and its clients a chain reaction to survive.
MEMORY ?=

.PHONY: demo test check clean

$(VENV)/.ready: pyproject.toml setup.py $(wildcard actorkit/heap/*.[ch])
	$(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --disable-pip-version-check -e '.[demo,test,check]'
	touch $@

demo: $(VENV)/.ready
	$(BIN)/python -m examples.ten_thousand --connections $(N) $(if $(MEMORY),--memory '$(MEMORY)')

test: $(VENV)/.ready
	$(BIN)/python -m pytest -q -n logical

check: $(VENV)/.ready
	$(BIN)/ruff check .
	$(BIN)/mypy
	$(BIN)/pyright --pythonpath $(BIN)/python

clean:
	rm -rf $(VENV) build *.egg-info
