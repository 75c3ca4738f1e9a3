# Two commands matter: `make demo` and `make test`. Each installs what it needs, first, into .venv; with PYTHON=… of a
# version's own, such as `make test PYTHON=python3.13`, into a folder of that version's own.
SHELL := /bin/sh
PYTHON ?= python3
VENV ?= .venv$(if $(filter-out python3,$(PYTHON)),-$(shell $(PYTHON) -c 'import platform; print(platform.python_version())'))
export VENV
# Bytecode is kept where the environment says it is not, too: a run of the tests starts hundreds of Pythons, and each would
# compile every file anew; so would each worker, with the assertions of all tests.
unexport PYTHONDONTWRITEBYTECODE
BIN := $(VENV)/bin
READY := $(VENV)/.ready
# Files of tests that run side by side: three more than cores, because labs wait for their networks, and six at most.
WORKERS ?= $(shell cores=$$(nproc); echo $$((cores < 3 ? cores + 3 : 6)))

.PHONY: demo test fuzz check format bench image lab docs lock clean

demo: $(READY)
	$(BIN)/kubemtu demo

test: $(READY) $(VENV)/.collected
	$(BIN)/python scripts/run_tests.py -n $(WORKERS) --dist loadfile --no-loadscope-reorder $(if $(ONLY),-m '$(ONLY)')

# The first time, all tests are compiled once: workers that begin together would each do it.
$(VENV)/.collected: $(READY)
	@$(BIN)/pytest --collect-only -qq >/dev/null 2>&1 || true
	@touch $@

fuzz: $(READY)
	$(BIN)/python scripts/fuzz.py

check: $(READY)
	scripts/check

format: $(READY)
	$(BIN)/ruff check --fix-only --quiet src lab tests bench scripts conftest.py
	$(BIN)/ruff format --quiet src lab tests bench scripts conftest.py

bench: $(READY)
	scripts/bench

image: $(READY)
	scripts/image

lab: $(READY)
	$(BIN)/kubemtu lab up

docs: $(READY)
	$(BIN)/python scripts/docs.py

lock:
	uv pip compile --quiet --universal --python-version 3.11 --generate-hashes --no-header --no-emit-index-url \
	  --no-annotate pyproject.toml requirements/dev.in -o requirements/dev.lock
	uv pip compile --quiet --universal --python-version 3.11 --generate-hashes --no-header --no-emit-index-url \
	  --no-annotate --constraint requirements/dev.lock pyproject.toml -o requirements/runtime.lock
	uv pip compile --quiet --universal --python-version 3.11 --generate-hashes --no-header --no-emit-index-url \
	  --no-annotate --constraint requirements/dev.lock requirements/build.in -o requirements/build.lock

$(READY): requirements/dev.lock requirements/kubectl.txt pyproject.toml scripts/setup
	PYTHON="$(PYTHON)" VENV="$(VENV)" scripts/setup
	@touch $(READY)

clean:
	rm -rf .venv .venv-* .mypy_cache .ruff_cache .pytest_cache .hypothesis .import_linter_cache .coverage build dist
