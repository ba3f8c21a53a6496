# `make demo` and `make test` need Python 3.11 to 3.13 and make, nothing else.
PYTHON ?= python3
VENV ?= .venv
BIN = $(VENV)/bin
# The index's default torch for Linux is the CUDA build, gigabytes larger; TORCH_INDEX names an index of CPU builds.
TORCH_INDEX ?=
OUT ?= demo

.PHONY: install demo test test-slow lint clean

install: $(VENV)/.installed

$(VENV)/.installed: pyproject.toml constraints.txt
	$(PYTHON) -m venv $(VENV)
	$(BIN)/pip install --quiet --upgrade pip
	$(BIN)/pip install --quiet $(if $(TORCH_INDEX),--index-url $(TORCH_INDEX)) -c constraints.txt torch
	$(BIN)/pip install --quiet -c constraints.txt -e '.[dev]'
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

lint: install
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .

clean:
	rm -rf $(VENV) $(OUT) build dist *.egg-info
