# `make demo` and `make test` need Python 3.11 to 3.13 and make, nothing else.
PYTHON ?= python3
VENV ?= .venv
BIN = $(VENV)/bin
# What is installed: `dev` holds all but the converters for TFLite and Core ML, `all` holds them too (1.3 GB more).
EXTRA ?= dev
# The index's default torch for Linux is the CUDA build, gigabytes larger; TORCH_INDEX names an index of CPU builds.
TORCH_INDEX ?=
OUT ?= demo

.PHONY: install demo test test-slow lint clean

say = @printf '\n== %s\n' '$(1)'
# Packages are many and large, so pip shows what it fetches. Setuptools' note on editable installs is not for users.
pip = PYTHONWARNINGS=ignore $(BIN)/python -m pip install --disable-pip-version-check --no-warn-script-location

install: $(VENV)/.installed-$(EXTRA)

$(VENV)/.installed-$(EXTRA): pyproject.toml constraints.txt
	$(call say,Setting up $(VENV): the first time this fetches about 1 GB and takes some minutes)
	$(PYTHON) -m venv $(VENV)
	$(pip) $(if $(TORCH_INDEX),--index-url $(TORCH_INDEX)) -c constraints.txt torch
	$(pip) -c constraints.txt -e '.[$(EXTRA)]'
	touch $@

# Export the shipped weights in two schemes, verify, track the sample clip.
demo: install
	$(call say,1 of 4: exporting the shipped weights to ONNX in fp32 (half a minute))
	$(BIN)/qlot-export --target onnx --out $(OUT)/onnx-fp32 --force
	$(call say,2 of 4: exporting them in int8 (a minute))
	$(BIN)/qlot-export --target onnx --int8 --out $(OUT)/onnx-int8 --force
	$(call say,3 of 4: replaying the int8 bundle)
	$(BIN)/qlot verify $(OUT)/onnx-int8
	$(call say,4 of 4: tracking the sample clip)
	$(BIN)/qlot track assets/sample.mp4 --bundle $(OUT)/onnx-int8 --out $(OUT)/tracked --ellipses --force
	$(call say,Look at $(OUT)/tracked/tracked.mp4 and $(OUT)/tracked/summary.png)

# One thread per worker: two workers with two threads each wait for one another. A file's tests share what they convert.
pytest = OMP_NUM_THREADS=1 $(BIN)/python -m pytest -n 2 --dist loadfile

test: install
	$(call say,Running the tests: some minutes on two cores)
	$(pytest)

test-slow: install
	$(call say,Running the slow tests)
	$(pytest) -m slow

lint: install
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .

clean:
	rm -rf $(VENV) $(OUT) build dist *.egg-info
