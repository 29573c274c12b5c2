# make demo   train a Bi-Real network through every stage of the recipe on the embedded digits
# make test   style, types and tests
# Both create .venv and install what they need once; the stamps in .venv say what is there.

PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
PIP := $(BIN)/pip --disable-pip-version-check
CONSTRAINTS := -c constraints.txt

.PHONY: demo test lint clean

demo: $(VENV)/.core
	rm -rf work_dirs/demo
	$(BIN)/python tools/train.py configs/bireal_r18_digits.py --work-dir work_dirs/demo

test: $(VENV)/.dev lint
	$(BIN)/python -m pytest

lint: $(VENV)/.dev
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy

$(VENV)/.core: setup.cfg pyproject.toml constraints.txt
	test -x $(BIN)/python || $(PYTHON) -m venv $(VENV)
	$(PIP) install --quiet --upgrade pip "setuptools<81" wheel
	$(PIP) install --quiet $(CONSTRAINTS) --editable .
	touch $@

# mmcv has no wheel for this torch; it is compiled against the one installed (about 8 minutes; pip keeps the wheel).
$(VENV)/.det: $(VENV)/.core
	$(PIP) install --quiet $(CONSTRAINTS) ninja
	MMCV_WITH_OPS=1 $(PIP) install --quiet $(CONSTRAINTS) --no-build-isolation mmcv
	$(PIP) install --quiet $(CONSTRAINTS) --editable ".[det]"
	touch $@

$(VENV)/.dev: $(VENV)/.det
	$(PIP) install --quiet $(CONSTRAINTS) --editable ".[dev]"
	touch $@

clean:
	rm -rf $(VENV) work_dirs build *.egg-info .pytest_cache .mypy_cache .ruff_cache
