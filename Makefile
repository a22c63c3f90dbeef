# make demo    install, simulate a small sequence, reduce it, show where the result is
# make test    the quick tests           make test-all  all tests
# make lint    style, types, layers      make bench     measurements (benchmarks/RESULTS.md)
# make docs    the documentation         make lock      renew requirements/*.txt
# make clean   remove what was made here

PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
RUN := $(VENV)/.stamp-run
DEV := $(VENV)/.stamp-dev

# One BLAS thread per process: the images are small, more threads only wait for each other.
export OMP_NUM_THREADS ?= 1
export OPENBLAS_NUM_THREADS ?= $(OMP_NUM_THREADS)
export PIP_DISABLE_PIP_VERSION_CHECK := 1

TEST_WORKERS ?= 2
PYTEST := $(BIN)/python -m pytest -n $(TEST_WORKERS)

DEMO_DIR ?= demo
# prints options with what the simulation knows: the companion's sky position, the star's flux
TRUTH := import json, sys; t = json.load(open(sys.argv[1])); c = t["companion"]; \
  print("--mark={},{}".format(c["ra"], c["dec"]), "--star-flux", t["options"]["star_flux"])
DEMO_SEQUENCE := --nints 5 --ref-nints 3 --ref-dithers 9

.PHONY: demo test test-all lint bench docs options lock clean install

install: $(RUN)

$(VENV)/bin/python:
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' \
	  || { echo "webbalign needs Python 3.11 or newer; say which: make PYTHON=python3.11"; exit 1; }
	@$(PYTHON) -c 'import ensurepip, venv' \
	  || { echo "$(PYTHON) cannot make virtual environments; on Debian: apt install python3-venv"; exit 1; }
	$(PYTHON) -m venv $(VENV)

# The package itself is installed without build isolation: setuptools is in the lock as well.
$(RUN): requirements/lock.txt pyproject.toml | $(VENV)/bin/python
	$(BIN)/python -m pip install --quiet --require-hashes --no-deps -r requirements/lock.txt
	$(BIN)/python -m pip install --quiet --no-deps --no-build-isolation --editable .
	@touch $@

$(DEV): requirements/dev.txt $(RUN)
	$(BIN)/python -m pip install --quiet --require-hashes --no-deps -r requirements/dev.txt
	@touch $@

demo: $(RUN)
	$(BIN)/webbalign simulate coron3 $(DEMO_DIR) $(DEMO_SEQUENCE)
	$(BIN)/webbalign coron3 $(DEMO_DIR)/*_asn.json --output-dir $(DEMO_DIR)/products \
	  --figure $$($(BIN)/python -c '$(TRUTH)' $(DEMO_DIR)/*_truth.json)
	@echo
	@echo "Pictures (before, PSF model, after, combined):"
	@ls -1 $(DEMO_DIR)/products/*.png
	@echo "The report (open it in a browser):"
	@ls -1 $(DEMO_DIR)/products/*_report.html

test: $(DEV)
	$(PYTEST)

test-all: $(DEV)
	HYPOTHESIS_PROFILE=searching $(PYTEST) -m ""

lint: $(DEV)
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/lint-imports

bench: $(DEV)
	$(BIN)/python -m benchmarks

options: $(RUN)
	$(BIN)/python docs/generate_options.py

docs: $(DEV) options
	$(BIN)/sphinx-build -W --keep-going -q -b html docs docs/_build/html
	@echo "docs/_build/html/index.html"

# Only the public index enters the locks, whatever this machine's pip is configured for. They are
# made with the oldest Python that is supported, so that its versions of the libraries are taken.
LOCK_VENV := build/lock-venv
LOCK_ENV := PIP_CONFIG_FILE=/dev/null PIP_FIND_LINKS= PIP_EXTRA_INDEX_URL= CUSTOM_COMPILE_COMMAND="make lock"
COMPILE := $(LOCK_ENV) $(LOCK_VENV)/bin/pip-compile --quiet --generate-hashes --allow-unsafe \
  --strip-extras --no-emit-index-url --no-emit-find-links --no-emit-trusted-host --no-emit-options \
  --resolver=backtracking

lock:
	$(PYTHON) -m venv $(LOCK_VENV)
	$(LOCK_VENV)/bin/python -m pip install --quiet "pip-tools>=7.5"
	$(COMPILE) $(LOCK_FLAGS) -o requirements/lock.txt pyproject.toml requirements/build.in
	$(COMPILE) $(LOCK_FLAGS) --extra test --extra lint --extra docs --extra dask --extra cloud --extra browser \
	  -c requirements/lock.txt -o requirements/dev.txt pyproject.toml requirements/build.in
	! grep -nE '://|file:/' requirements/lock.txt requirements/dev.txt

clean:
	rm -rf $(VENV) build dist demo docs/_build docs/_generated docs/_gallery .pytest_cache .mypy_cache .ruff_cache \
	  .hypothesis .import_linter_cache
	find . -name __pycache__ -not -path './.git/*' -prune -exec rm -rf {} +
