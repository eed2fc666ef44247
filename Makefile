# make repro   the headline figure of every paper, from nothing but Python >= 3.11, pip and make
# make repro-all  all of figures/ and paper_repro.md; it resumes where it was interrupted
# make test    static checks, unit tests, doctests
# make bench   both engines beside other libraries: rewrites the tables and the figure in benchmarks/
# make check   what CI runs before the experiments: static checks and all tests, slow ones and the browser's too
# make browser the explorer's tests, in an installed Chromium
# make smoke   every experiment in a small version, to a temporary folder
# make release asserts that no figure is stale, before they are published
PYTHON ?= python3
BIN := .venv/bin
PIP := $(BIN)/python -m pip install --quiet --disable-pip-version-check -c constraints.txt

.PHONY: repro repro-all test check smoke slow release browser bench lint clean
repro: .venv/experiments.stamp
	@echo "== running the headline experiments: writes their figures/ and paper_repro.md"
	$(BIN)/sdesam repro

repro-all: .venv/experiments.stamp
	@echo "== running all experiments: writes figures/ and paper_repro.md"
	$(BIN)/sdesam repro --all

test: .venv/dev.stamp lint
	@echo "== unit tests and doctests"
	$(BIN)/python -m pytest -n 2

check: .venv/dev.stamp lint
	@echo "== all tests; those in a browser are skipped, visibly, where there is none"
	$(PIP) -e ".[browser]"
	$(BIN)/python -m pytest -n 2 --dist loadgroup -m "not release" -rs

smoke: .venv/experiments.stamp
	@echo "== every experiment, small, to a temporary folder"
	$(BIN)/sdesam repro --smoke

slow: .venv/dev.stamp
	$(BIN)/python -m pytest -n 2 -m slow

release: .venv/dev.stamp
	$(BIN)/python -m pytest -q -m release

bench: .venv/dev.stamp
	@echo "== installing jax and diffrax, then measuring for about ten minutes"
	$(PIP) -e ".[bench]"
	$(BIN)/python benchmarks/engine.py

browser: .venv/dev.stamp
	@echo "== the explorer in an installed Chromium; skipped, visibly, where there is none"
	$(PIP) -e ".[browser]"
	$(BIN)/python -m pytest -q -rs -m browser tests/explorer

lint: .venv/dev.stamp
	@echo "== ruff, pyright"
	$(BIN)/ruff check --quiet .
	$(BIN)/ruff format --check --quiet .
	$(BIN)/pyright --pythonpath $(BIN)/python > .venv/pyright.log || { cat .venv/pyright.log; exit 1; }

# The stamps make a second run start at once; they are renewed when the files beside them change.
.venv/bin/python:
	@echo "== creating .venv"
	$(PYTHON) -m venv .venv

.venv/experiments.stamp: pyproject.toml constraints.txt | .venv/bin/python
	@echo "== installing what the experiments need (1.5 GB and a minute with a CPU build of torch)"
	$(PIP) -e ".[experiments]"
	@touch $@

.venv/dev.stamp: pyproject.toml constraints.txt | .venv/bin/python
	@echo "== installing what the tests need"
	$(PIP) -e ".[dev]"
	@touch $@ .venv/experiments.stamp

clean:
	rm -rf .venv results .pytest_cache .ruff_cache
