# make setup   .venv with everything, the vendor's toolkit included
# make demo    build the sample model, prove it, run it in the NPU simulator, draw boxes
# make test    all tests;  make test-fast leaves out those that run the toolkit
# make lint    ruff, formatting, mypy

PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
READY := $(VENV)/.ready
NATIVE := rkdeploy/postprocess/native
COMPILED := $(VENV)/.compiled
CPU_TORCH := https://download.pytorch.org/whl/cpu
PIP := $(BIN)/python -m pip --disable-pip-version-check install --quiet -c constraints.txt

.PHONY: setup demo test test-fast lint format board-wheels schema clean

setup: $(READY) $(COMPILED)

# The toolkit imports torch but needs nothing of its GPU side: the CPU build saves 5 GB.  Where PyTorch's own index is
# not reached, whatever index pip is set up with decides.  The toolkit goes in without its own dependency pins, because
# its bound on torch is older than the newest CPU build it works with; constraints.txt holds the tested versions.
$(READY): pyproject.toml constraints.txt hatch_build.py
	@$(PYTHON) -c 'import sys; v = sys.version_info[:2]; sys.exit(0 if (3, 10) <= v <= (3, 12) else f"Python {v[0]}.{v[1]} found, 3.10 to 3.12 needed: make PYTHON=python3.11")'
	$(PYTHON) -m venv $(VENV)
	$(PIP) "setuptools<80"
	@$(BIN)/python -c 'import torch' 2>/dev/null \
	  || $(PIP) --retries 0 --timeout 10 --index-url $(CPU_TORCH) torch 2>/dev/null \
	  || $(PIP) torch
	$(PIP) -e ".[graph,dev]"
	$(PIP) --no-deps rknn-toolkit2
	@$(BIN)/python -c 'from importlib.metadata import requires; print("\n".join(r for r in requires("rknn-toolkit2") if not r.startswith("torch")))' > $(VENV)/toolkit-requirements.txt
	@echo "pip may now print an ERROR about torch: the toolkit declares torch <= 2.4.0 and works with newer ones."
	$(PIP) -r $(VENV)/toolkit-requirements.txt
	@touch $(READY)

# The editable install compiles too; this is for sources that changed since.  Without a compiler numpy decodes.
$(COMPILED): $(READY) $(NATIVE)/compile.py $(wildcard $(NATIVE)/*.[ch])
	$(BIN)/python -m rkdeploy.postprocess.native.compile || true
	@touch $(COMPILED)

demo: setup
	$(BIN)/rkdeploy inspect calib_data/best.pt
	$(BIN)/rkdeploy build calib_data/best.pt --calib calib_data --out build
	$(BIN)/rkdeploy run --model build/best-rk3588-int8 --backend simulator --source "calib_data/images/val/val_000*.jpg" \
	  --save build/demo --jsonl build/demo.jsonl
	@echo "Look at the boxes: build/demo/    The model: build/best-rk3588-int8/best.rknn"

# One worker a core; the tests of a file stay together, since they share what they build, and files are handed out in the
# order that tests/conftest.py gives them.
test: setup
	$(BIN)/python -m pytest -n auto --dist loadfile --no-loadscope-reorder

test-fast: setup
	$(BIN)/python -m pytest -n auto --dist loadfile --no-loadscope-reorder -m "not slow"

lint: setup
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy

format: setup
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

board-wheels: setup
	board/make_wheels.sh

schema: setup
	$(BIN)/python -m rkdeploy.schema docs

clean:
	rm -rf $(VENV) build dist .mypy_cache .ruff_cache .pytest_cache
