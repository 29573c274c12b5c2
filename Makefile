# make demo   train a Bi-Real network through every stage of the recipe on the embedded digits, export it, time it
# make test   style, types and tests
# Both create .venv and install what they need once; the stamps in .venv say what is there.

PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
PIP := $(BIN)/pip --disable-pip-version-check
CONSTRAINTS := -c constraints.txt

.PHONY: demo test lint clean

demo: $(VENV)/.engines
	rm -rf work_dirs/demo
	$(BIN)/python tools/train.py configs/bireal_r18_digits.py --work-dir work_dirs/demo
	$(BIN)/python tools/export.py configs/bireal_r18_digits.py work_dirs/demo/bn/epoch_1.pth \
		--format packed,openvino,onnx,tflite,qonnx --verify --images 200 --out work_dirs/demo/export
	$(BIN)/python tools/benchmark.py 18 --engines openvino-f32 openvino-int8 onnxruntime torch --rounds 10

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

$(VENV)/.engines: $(VENV)/.core $(VENV)/.larq
	$(PIP) install --quiet $(CONSTRAINTS) --editable ".[openvino,onnx,qonnx,tflite,plot]"
	touch $@

$(VENV)/.dev: $(VENV)/.det $(VENV)/.engines
	$(PIP) install --quiet $(CONSTRAINTS) --editable ".[dev,torchao]"
	touch $@

# Larq's interpreter, which runs the exported .tflite files, needs numpy 1 and so an environment of its own.
$(VENV)/.larq: $(VENV)/.core
	test -x $(VENV)/larq/bin/python || $(BIN)/python -m venv $(VENV)/larq
	$(VENV)/larq/bin/pip --disable-pip-version-check install --quiet "numpy<2"
	$(VENV)/larq/bin/pip --disable-pip-version-check install --quiet --no-deps larq-compute-engine==0.16.0
	touch $@

clean:
	rm -rf $(VENV) work_dirs build *.egg-info .pytest_cache .mypy_cache .ruff_cache
