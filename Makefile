# make demo   train a Bi-Real network through every stage of the recipe on the embedded digits, export it, time it
# make demo-depth   train a depth network on rendered stereo streets, score it, export it, draw what it sees
# make test   style, types, documentation and tests
# make docs   the documentation as a site, in site/
# make matrix   digits, export and tests of the models for every Python, with the lowest and the highest versions
# All create .venv and install what they need once; the stamps in .venv say what is there.

PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
REQUIREMENTS := setup.cfg pyproject.toml constraints.txt
# `install ENVIRONMENT PACKAGES` in a recipe: uv links packages from its cache and takes a third of pip's computing. Where
# it fails, pip may not, which has settings of its own for mirrors and certificates.
define FUNCTION
install() { \
	env=$$1; shift; $(BIN)/uv pip install --quiet --system-certs --python "$$env" "$$@" || \
	"$$env/bin/python" -m pip --disable-pip-version-check install --quiet "$$@"; }; install
endef
INSTALL = $(FUNCTION) $(VENV) --constraint constraints.txt

# uv compiles nothing that it installs, so that a python which may not write would compile all imports at every start.
export PYTHONDONTWRITEBYTECODE :=

.PHONY: demo demo-depth test lint docs matrix clean

demo: $(VENV)/.engines
	rm -rf work_dirs/demo
	$(BIN)/bireal train configs/bireal_r18_digits.py --work-dir work_dirs/demo
	$(BIN)/bireal export configs/bireal_r18_digits.py work_dirs/demo/bn/epoch_1.pth \
		--format packed c openvino onnx $$(test -e $(VENV)/.larq && echo tflite) qonnx --verify --images 200 --out work_dirs/demo/export
	$(BIN)/bireal benchmark 18 --engines c-f32 c-int8 openvino-f32 openvino-int8 onnxruntime torch --rounds 10

DEPTH := work_dirs/demo_depth
demo-depth: $(VENV)/.engines
	rm -rf $(DEPTH)
	$(BIN)/bireal train configs/depth/bireal_r18_street.py --work-dir $(DEPTH)
	$(BIN)/bireal depth export configs/depth/bireal_r18_street.py $(DEPTH)/binary/epoch_9.pth --out $(DEPTH)/export
	$(BIN)/bireal depth evaluate $(DEPTH)/export/bireal_r18_street.xml --streets 64
	$(BIN)/bireal depth render $(DEPTH)/streets --count 6
	$(BIN)/bireal depth infer $(DEPTH)/streets/2000_01_01/2000_01_01_drive_0001_sync/image_02/data \
		--checkpoint $(DEPTH)/export/bireal_r18_street.xml --save side colour png16 npy ply --out $(DEPTH)/pictures
	$(BIN)/bireal benchmark configs/depth/bireal_r18_street.py --size 96 320 \
		--sides ours twin --engines c-f32 c-int8 openvino-f32 openvino-int8 torch --rounds 10

# Networks as small as the tests' gain nothing from a second thread, but files of tests from a second process. In order,
# since xdist would leave the files of few tests for the end, which are those that take longest.
test: $(VENV)/.dev $(VENV)/.cross lint docs
	OMP_NUM_THREADS=1 $(BIN)/python -m pytest --numprocesses 2 --dist loadfile --no-loadscope-reorder

lint: $(VENV)/.dev
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy

docs: $(VENV)/.dev
	NO_MKDOCS_2_WARNING=1 $(BIN)/mkdocs build --quiet --strict

# Two hours on two cores and 10 GB of disk. Needs the interpreters; other ones: make matrix PYTHONS=/usr/bin/python3.12
PYTHONS := 3.10 3.11 3.12 3.13
matrix: $(VENV)/.uv
	PATH="$(abspath $(BIN)):$$PATH" $(BIN)/python tests/matrix.py $(PYTHONS)

$(VENV)/.uv:
	test -x $(BIN)/python || $(PYTHON) -m venv $(VENV)
	$(BIN)/pip --disable-pip-version-check install --quiet uv || echo "uv cannot be installed: pip does its work"
	touch $@

$(VENV)/.engines: $(REQUIREMENTS) | $(VENV)/.uv $(VENV)/.larq
	$(INSTALL) --editable ".[digits,onnx,openvino,plot,qonnx,tflite]"
	touch $@

$(VENV)/.dev: $(REQUIREMENTS) | $(VENV)/.uv $(VENV)/.larq
	$(INSTALL) --editable ".[app,det,dev,digits,docs,onnx,openvino,plot,qonnx,teacher,tflite,torchao]"
	touch $@

# Tests compare our operators with mmcv's where these are installed. mmcv has no wheel for this torch and is compiled
# against the one installed (about 8 minutes; uv keeps the wheel).
$(VENV)/.det-compiled: $(REQUIREMENTS) | $(VENV)/.uv
	$(INSTALL) --editable . ninja setuptools
	MMCV_WITH_OPS=1 $(INSTALL) --no-build-isolation mmcv
	$(INSTALL) --editable ".[det-compiled]"
	touch $@

# Larq's interpreter, which runs the exported .tflite files, needs numpy 1 and so an environment of its own. It has no
# wheel for every Python and machine: without it the demo leaves .tflite out and the tests skip it, and say so.
LARQ := --no-deps --only-binary :all: "numpy<2" larq-compute-engine==0.16.0
$(VENV)/.larq: | $(VENV)/.uv
	$(BIN)/python -m venv --clear $(VENV)/larq
	if $(FUNCTION) $(VENV)/larq $(LARQ); then touch $@; else rm -rf $(VENV)/larq; \
		echo "larq-compute-engine cannot be installed for this Python: .tflite files are not run"; fi

# Compilers and emulators of other processors, for the tests of the C engine, and a browser, for those of the page, from
# Debian. Where they cannot be installed those tests are skipped, and say what is missing.
CROSS := clang gcc-aarch64-linux-gnu libc6-dev-arm64-cross gcc-arm-linux-gnueabihf libc6-dev-armhf-cross \
	gcc-riscv64-linux-gnu libc6-dev-riscv64-cross gcc-arm-none-eabi libnewlib-arm-none-eabi qemu-user qemu-system-arm chromium
$(VENV)/.cross: | $(VENV)/.uv
	which qemu-aarch64 chromium > /dev/null || { test "$$(id -u)" = 0 && apt-get update -qq && \
		DEBIAN_FRONTEND=noninteractive apt-get install -qq -y --no-install-recommends $(CROSS) > /dev/null; } || \
		echo "other processors' compilers or a browser are not installed: their tests are skipped"
	touch $@

# What tools leave behind; neither work_dirs, which holds trained networks, nor the environment.
clean:
	rm -rf build site *.egg-info .hypothesis .pytest_cache .mypy_cache .ruff_cache
	find . -name __pycache__ -not -path './.venv/*' -prune -exec rm -rf {} +
