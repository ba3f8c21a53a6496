# `make demo` and `make test` need Python 3.11 to 3.13 and make, nothing else.
PYTHON ?= python3
VENV ?= .venv
BIN = $(VENV)/bin
# `make test-targets` needs every converter, 2.5 GB of them: an environment of its own.
TARGETS_VENV ?= .venv-targets
# The index's default torch for Linux is the CUDA build, gigabytes larger; TORCH_INDEX names an index of CPU builds.
TORCH_INDEX ?=
OUT ?= demo

.PHONY: install install-targets demo test test-slow test-targets test-arm lint clean

install: $(VENV)/.installed
install-targets: $(TARGETS_VENV)/.installed

$(VENV)/.installed: EXTRA = dev
$(TARGETS_VENV)/.installed: EXTRA = all
$(VENV)/.installed $(TARGETS_VENV)/.installed: %/.installed: pyproject.toml constraints.txt
	$(PYTHON) -m venv $*
	$*/bin/pip install --quiet --upgrade pip
	$*/bin/pip install --quiet $(if $(TORCH_INDEX),--index-url $(TORCH_INDEX)) -c constraints.txt torch
	$*/bin/pip install --quiet -c constraints.txt -e '.[$(EXTRA)]'
	touch $@

# Export the shipped weights in two schemes, verify both, track the sample clip.
demo: install
	$(BIN)/qlot-export --target onnx --out $(OUT)/onnx-fp32 --force
	$(BIN)/qlot-export --target onnx --int8 --out $(OUT)/onnx-int8 --force
	$(BIN)/qlot verify $(OUT)/onnx-int8
	$(BIN)/qlot track assets/sample.mp4 --bundle $(OUT)/onnx-int8 --out $(OUT)/tracked --ellipses --force
	@echo
	@echo "Look at $(OUT)/tracked/tracked.mp4 and $(OUT)/tracked/summary.png"

# One thread per worker: two workers with two threads each wait for one another.
test: export OMP_NUM_THREADS = 1
test: install
	$(BIN)/python -m pytest -n 2

test-slow: export OMP_NUM_THREADS = 1
test-slow: install
	$(BIN)/python -m pytest -n 2 -m slow

# What `make test` and `make test-slow` skip for want of a converter. A file's tests share what they convert, hence
# loadfile.
test-targets: export OMP_NUM_THREADS = 1
test-targets: install-targets
	$(TARGETS_VENV)/bin/python -m pytest -n 2 --dist loadfile -m 'slow or not slow' tests/mil \
		tests/export/targets/tflite tests/export/targets/coreml $(wildcard tests/runtime/network/test_session_*.py)

# The engines' ARM kernels under qemu; skipped, with the reason, where that is missing.
test-arm: export OMP_NUM_THREADS = 1
test-arm: install-targets
	$(TARGETS_VENV)/bin/python -m pytest -m slow tests/benchmarks/arm

lint: install
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .

clean:
	rm -rf $(VENV) $(TARGETS_VENV) $(OUT) build dist *.egg-info
