# Everything runs in .venv, which is made when it is missing; delete it to start afresh.
PYTHON ?= python3
BIN := .venv/bin
INSTALL := $(BIN)/python -m pip install --quiet --disable-pip-version-check --constraint constraints.txt
DEMO ?= demo
export FORECAST_HOME = $(DEMO)/home

.PHONY: demo test test-browser lint docs base-model package bench clean

demo: .venv/forecaster
	rm -rf $(DEMO)
	$(BIN)/forecast fetch --source sample
	$(BIN)/forecast train --until 2012-12-31 $(TRAIN)
	@mkdir -p $(DEMO)
	$(BIN)/forecast backtest --start 2013-01-01 --end 2018-12-31 --out $(DEMO)/backtest > $(DEMO)/scores.txt
	$(BIN)/forecast predict
	$(BIN)/forecast predict --run base
	@cat $(DEMO)/scores.txt

# A file's tests stay in one process, which trains what they share once; each process takes 1.5 GB.
# The longest files come first (tests/conftest.py); pytest-xdist would begin with those of most tests.
# One more than there are cores, up to four: tests of clusters and of servers mostly wait.
PROCESSES ?= $(shell $(PYTHON) -c "import os; print(min(4, (os.cpu_count() or 1) + 1))")

# The tests start some eighty processes, none of which need compile the package anew.
test: export PYTHONDONTWRITEBYTECODE =
# A second thread of linear algebra waits for work without rest, and takes the core of another process.
test: export OMP_NUM_THREADS = 1
test: .venv/dev
	$(BIN)/python -m pytest --numprocesses $(PROCESSES) --dist loadfile --no-loadscope-reorder

CHROMIUM ?= $(shell command -v chromium || command -v chromium-browser || command -v google-chrome)

test-browser: .venv/dev
	@test -n "$(CHROMIUM)" || { echo "test-browser needs Chromium: apt-get install chromium, or name a Chrome with: make test-browser CHROMIUM=/path/to/chrome" >&2; exit 1; }
	CHROMIUM="$(CHROMIUM)" $(BIN)/python -m pytest -m browser

lint: .venv/dev
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/lint-imports

docs: .venv/dev
	NO_MKDOCS_2_WARNING=1 $(BIN)/mkdocs build --quiet
	@echo "site/index.html"

# The run in forecaster/models/recurrent/base, from the prices of the benchmarks.
base-model: .venv/dev
	$(BIN)/python benchmarks/base_model.py train

# What a user of pip gets: the newest versions that pyproject.toml allows, in an empty environment, first without
# TensorFlow and then with it.
package: .venv/dev
	rm -rf dist
	$(BIN)/python -m build --no-isolation --outdir dist
	$(BIN)/twine check --strict dist/*
	$(PYTHON) -m venv dist/empty
	dist/empty/bin/python -m pip install --quiet --disable-pip-version-check --no-compile dist/*.whl
	cd dist && FORECAST_HOME=home empty/bin/forecast fetch --source sample
	cd dist && FORECAST_HOME=home empty/bin/forecast train --until 2012-12-31 --model gjr
	cd dist && FORECAST_HOME=home empty/bin/forecast predict
	cd dist && empty/bin/python -m pip install --quiet --disable-pip-version-check --no-compile "$$(echo *.whl)[train]"
	cd dist && FORECAST_HOME=home empty/bin/forecast train --until 2012-12-31 --epochs 1 --seeds 1
	cd dist && FORECAST_HOME=home empty/bin/forecast predict
	rm -rf dist/empty dist/home

bench: .venv/dev .venv-peers/ready
	for script in accuracy horizons events implied base_model mixtures baselines tails calibration evaluation anytime ablation speed scaling tickers from_base fits install store ledger market decades cluster fetching first_minute daily serve listings referee tables; do $(BIN)/python benchmarks/$$script.py || exit 1; done

clean:
	rm -rf .venv .venv-peers $(DEMO) dist site

$(BIN)/python:
	@$(PYTHON) -c "import sys; sys.exit(sys.version_info < (3, 11))" || { echo "Forecaster needs Python 3.11 or later as python3; name another with: make PYTHON=/path/to/python" >&2; exit 1; }
	$(PYTHON) -m venv .venv

.venv/forecaster: $(BIN)/python pyproject.toml constraints.txt
	@echo "Installing Forecaster and TensorFlow in .venv; the first time this takes a few minutes."
	$(INSTALL) --editable ".[train]"
	@touch $@

.venv/dev: $(BIN)/python pyproject.toml constraints.txt
	@echo "Installing Forecaster and its test tools in .venv; the first time this takes a few minutes."
	$(INSTALL) --editable ".[dev]"
	@touch $@ .venv/forecaster

.venv-peers/ready: $(BIN)/python benchmarks/requirements-peers.txt
	$(PYTHON) -m venv .venv-peers
	.venv-peers/bin/python -m pip install --quiet --disable-pip-version-check --requirement benchmarks/requirements-peers.txt
	@touch $@
