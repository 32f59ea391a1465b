# Each target sets up what it needs in .venv; nothing else on the machine is touched.
# Three processes for two cores: tests of servers and of time limits wait for half of their time.
PYTHON ?= python3
BIN := .venv/bin
export PIP_DISABLE_PIP_VERSION_CHECK = 1

.PHONY: demo serve test test-all lint format openapi encoder clean

demo: .venv/.installed-core
	@$(BIN)/synaptoroute demo

serve: .venv/.installed-api
	@$(BIN)/synaptoroute serve --demo

test: .venv/.installed-dev lint
	$(BIN)/python -m pytest -n 3 --dist worksteal -m "not slow"

test-all: .venv/.installed-clusters .venv/.installed-deploy .venv/.installed-torch lint
	$(BIN)/python -m pytest -n 3 --dist worksteal --cov --cov-report=term

lint: .venv/.installed-dev
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy

format: .venv/.installed-dev
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

# What docs/openapi.json must be; a test compares the two.
openapi: .venv/.installed-dev
	$(BIN)/python -m synaptoroute.server.description > docs/openapi.json

# Trains the encoder for routing and builds its 8-bit weights; DATA is the folder of the data sets (training/README.md).
# An interrupted run goes on where it was.
DATA ?= $(SYNAPTOROUTE_DATA)
RUN ?= build/encoder
encoder: .venv-training/.installed
	.venv-training/bin/python -m training --data $(DATA) --out $(RUN)
	.venv-training/bin/python scripts/build_encoder.py --model minilm-routing --trained $(RUN)/model.safetensors

.venv-training/.installed: pyproject.toml
	$(PYTHON) -m venv .venv-training
	.venv-training/bin/python -m pip install --quiet --upgrade 'pip>=25.1'
	.venv-training/bin/python -m pip install --quiet --editable . --group training
	@touch $@

# pip of 25.1 and later reads dependency groups, which the development tools are in.
.venv/.pip:
	$(PYTHON) -m venv .venv
	$(BIN)/python -m pip install --quiet --upgrade 'pip>=25.1'
	@touch $@

.venv/.installed-core: .venv/.pip pyproject.toml
	$(BIN)/python -m pip install --quiet --editable .
	@touch $@

.venv/.installed-api: .venv/.pip pyproject.toml
	$(BIN)/python -m pip install --quiet --editable '.[api]'
	@touch $@ .venv/.installed-core

.venv/.installed-dev: .venv/.pip pyproject.toml
	$(BIN)/python -m pip install --quiet --editable '.[all]' --group dev
	@touch $@ .venv/.installed-core .venv/.installed-api

# Helm and the other linters of what is in deploy/, half a gigabyte.
.venv/.installed-deploy: .venv/.installed-dev
	$(BIN)/python -m pip install --quiet --group deploy
	@touch $@

# Ray and Spark, half a gigabyte, for the tests that need them; Spark also needs Java 17 or newer.
.venv/.installed-clusters: .venv/.installed-dev
	$(BIN)/python -m pip install --quiet --group clusters
	@touch $@

# PyTorch and the encoders that need it, a gigabyte and more.
.venv/.installed-torch: .venv/.installed-dev
	$(BIN)/python -m pip install --quiet --group torch
	@touch $@

clean:
	rm -rf .venv .venv-training .mypy_cache .ruff_cache .pytest_cache .hypothesis .coverage
