# make setup   .venv with everything, the vendor's toolkit included, in the versions of locks/
# make demo    build the sample model, prove it, run it in the NPU simulator, draw boxes
# make test    all tests, with the system packages they need;  make test-fast leaves out those that run the toolkit
# make docs    the pages as a site, in build/site/
# make lint    ruff, formatting, spelling, mypy, shellcheck
# make lock    bring locks/ up to date;  make test-resolutions tests the versions that pyproject.toml allows

SUPPORTED := import sys; sys.exit(not (3, 10) <= sys.version_info[:2] <= (3, 12))
PYTHON ?= $(or $(shell for python in python3 python3.12 python3.11 python3.10; do \
  $$python -c '$(SUPPORTED)' 2>/dev/null && echo $$python && break; done),python3)
VERSION := $(shell $(PYTHON) -c 'import sys; print("%d.%d" % sys.version_info[:2])' 2>/dev/null)
LOCK := locks/py$(VERSION).txt
VENV := .venv
BIN := $(VENV)/bin
READY := $(VENV)/.ready
NATIVE := rkdeploy/device/postprocess/native
COMPILED := $(VENV)/.compiled
TORCH := 2.13.0
CPU_TORCH := https://download.pytorch.org/whl/cpu
PIP := $(BIN)/python -m pip --disable-pip-version-check install --quiet

SCRIPTS := board/install.sh board/make_wheels.sh tests/needs.sh $(wildcard tests/*/*.sh) .ci/run

# Python files that are compiled again at every start cost each test worker 5 s.
unexport PYTHONDONTWRITEBYTECODE

.NOTPARALLEL:
.PHONY: docs setup demo needs test test-fast test-resolutions lint format lock board-wheels schema clean

setup: $(READY) $(COMPILED)

# Everything but torch comes from the lock, with its hash.  torch has its version pinned and no hash of ours: its CPU
# build is another file on every index.  pip still checks what the index says of the file.  The CPU build saves 5 GB,
# and the toolkit needs nothing of the GPU side; where PyTorch's own index is not reached, whatever index pip is set up
# with decides.  --no-deps: the toolkit declares torch <= 2.4.0 and works with newer ones; the lock is complete.
$(READY): pyproject.toml hatch_build.py $(wildcard locks/py*.txt)
	@$(PYTHON) -c '$(SUPPORTED)' \
	  || { echo "$(PYTHON) is Python $(or $(VERSION),unknown), 3.10 to 3.12 needed: make PYTHON=python3.11" >&2; exit 1; }
	@$(PYTHON) -c 'import ensurepip, venv' 2>/dev/null || PYTHON=$(PYTHON) bash tests/needs.sh venv
	$(PYTHON) -m venv $(VENV)
	$(PIP) --require-hashes --no-deps -r $(LOCK)
	@$(BIN)/python -c 'from importlib.metadata import version; assert version("torch").split("+")[0] == "$(TORCH)"' 2>/dev/null \
	  || $(PIP) --retries 0 --timeout 10 --index-url $(CPU_TORCH) torch==$(TORCH) 2>/dev/null \
	  || $(PIP) torch==$(TORCH)
	$(PIP) --no-deps --no-build-isolation -e .
	@touch $(READY)

# The editable install compiles too; this is for sources that changed since.  Without a compiler numpy decodes.
$(COMPILED): $(READY) $(NATIVE)/compile.py $(wildcard $(NATIVE)/*.[ch])
	$(BIN)/python -m rkdeploy.device.postprocess.native.compile || true
	@touch $(COMPILED)

# One lock a Python version: exact versions and hashes of all packages, as constraints.txt and pyproject.toml allow.
lock: setup
	for version in 3.10 3.11 3.12; do \
	  $(BIN)/uv pip compile pyproject.toml locks/torch.in --extra host --extra dev --constraints constraints.txt \
	    --excludes locks/excluded.txt --python-version $$version --python-platform x86_64-manylinux_2_28 --upgrade \
	    --generate-hashes --custom-compile-command "make lock" --quiet --output-file locks/py$$version.txt || exit 1; \
	done

demo: setup
	$(BIN)/rkdeploy inspect calib_data/best.pt
	$(BIN)/rkdeploy build calib_data/best.pt --calib calib_data --out build
	$(BIN)/rkdeploy run build/best-rk3588-int8 "calib_data/images/val/val_000*.jpg" --backend simulator \
	  --save build/demo -o build/demo.jsonl
	@echo "Look at the boxes: build/demo/    The model: build/best-rk3588-int8/best.rknn"

# What the tests need of the system; without the right to install it, the tests that need it say so and are skipped.
needs:
	@PYTHON=$(PYTHON) bash tests/needs.sh

# One worker more than cores; the tests of a file stay together, since they share what they build, and files are handed out in the
# order that tests/conftest.py gives them.
test: needs setup
	$(BIN)/python -m pytest -n auto --dist loadfile --no-loadscope-reorder

test-fast: setup
	$(BIN)/python -m pytest -n auto --dist loadfile --no-loadscope-reorder -m "not slow"

# Fresh environments with the lowest and the newest versions that pyproject.toml allows; needs no toolkit.
test-resolutions: setup
	$(BIN)/python -m tests.resolutions

lint: setup
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/typos --quiet
	$(BIN)/mypy
	$(BIN)/shellcheck --external-sources --check-sourced $(SCRIPTS)

format: setup
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

docs: setup
	NO_MKDOCS_2_WARNING=1 $(BIN)/python -m mkdocs build --strict --site-dir build/site

board-wheels: setup
	board/make_wheels.sh

schema: setup
	$(BIN)/python -m rkdeploy.schema docs

clean:
	rm -rf $(VENV) build dist .cache .hypothesis .mypy_cache .ruff_cache .pytest_cache $(NATIVE)/librkdeploy-decode-*
