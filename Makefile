# Everything runs inside .venv, made on first use; PYTHON chooses the interpreter for it.
PYTHON ?= python3
VENV ?= .venv
BIN = $(VENV)/bin
N ?= 10000
# MEMORY=256MiB (N=1000: 80MiB) gives the demo's service a memory limit, and its clients a chain
# reaction to survive.
MEMORY ?=

# The case that `make survive` shows.
CASE ?= S2

.PHONY: demo survive wheel test test-pure check prove mutate sanitize clean

$(VENV)/.ready: pyproject.toml setup.py $(wildcard actorkit/heap/c/*.[ch])
	$(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --disable-pip-version-check -e '.[demo,test,check]'
	touch $@

demo: $(VENV)/.ready
	$(BIN)/python -m examples.ten_thousand --connections $(N) $(if $(MEMORY),--memory '$(MEMORY)')

# Less than a minute: memory against the levels while connections want three times the limit. Writes
# survival.svg.
survive: $(VENV)/.ready
	$(BIN)/python -m bench survive --case $(CASE)

# dist/actorkit-*.whl, for `pip install`. It has the extensions, but neither C sources nor tests.
wheel: $(VENV)/.ready
	$(BIN)/python -m pip wheel --quiet --disable-pip-version-check --no-deps --wheel-dir dist .

test: $(VENV)/.ready
	$(BIN)/python -m pytest -q -n logical

# The same without the C extension.
test-pure: $(VENV)/.ready
	ACTORKIT_PURE=1 $(BIN)/python -m pytest -q -n logical

# The long ones: models and schedules with twenty times as many tries, faults, soak, hostile peers,
# coverage; with one summary at the end. See docs/reliability.md.
prove: $(VENV)/.ready
	$(BIN)/python -m pip install --quiet --disable-pip-version-check -e '.[prove,extensions]'
	$(BIN)/python -m tests.prove

# Mutants of the pure machines that no test notices; an hour and more. `mutmut show NAME` shows one.
mutate: $(VENV)/.ready
	$(BIN)/python -m pip install --quiet --disable-pip-version-check -e '.[prove]'
	$(BIN)/mutmut run
	$(BIN)/mutmut results

check: $(VENV)/.ready
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/pyright --pythonpath $(BIN)/python

# The extensions under AddressSanitizer and UndefinedBehaviorSanitizer: minutes, gcc on Linux.
sanitize: $(VENV)/.ready
	$(BIN)/python -m tests.heap.sanitize

clean:
	rm -rf $(VENV) build dist mutants *.egg-info
