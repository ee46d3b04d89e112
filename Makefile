# Each target sets up what it needs, once, in .venv; nothing else on the machine is touched.
.DELETE_ON_ERROR:
.PHONY: demo test test-arm arm-root lint docs bench clean

PYTHON ?= python3
# Pinned and installed before everything else: what asks for "torch" without a version may bring gigabytes of CUDA.
TORCH ?= torch==2.13.0
WORKERS ?= 2
BUILD := build/demo
BIN := .venv/bin

READY := .venv/.ready
BENCH_READY := .venv/.ready-bench

demo: $(READY)
	rm -rf $(BUILD)
	$(BIN)/edgekit calibrate --target jetson-orin --effort quick -o $(BUILD)/jetson-orin
	$(BIN)/edgekit compile $(BUILD)/jetson-orin --target host -o $(BUILD)/lane.edge
	$(BIN)/edgekit verify $(BUILD)/lane.edge
	$(BIN)/edgekit profile $(BUILD)/lane.edge --seconds 5 -o $(BUILD)/profile.json
	$(BIN)/edgekit run $(BUILD)/lane.edge --limit 8 -o $(BUILD)/overlay
	@echo "Overlay pictures: $$(ls $(CURDIR)/$(BUILD)/overlay/*.jpg | head -n 1) and beside it"

# Files are shared out whole, since the tests of a file share what they measured; engines and torch get a thread each.
test: lint
	OMP_NUM_THREADS=1 $(BIN)/python -m pytest -n $(WORKERS) --dist loadfile --no-loadscope-reorder

# The same bundles under a real aarch64 ONNX Runtime, on Arm cores that qemu-user emulates. Debian only.
test-arm: arm-root
	$(BIN)/python -m pytest -m arm

arm-root: $(READY)
	$(BIN)/python -m tests.emulated.root build/arm-root

lint: $(READY)
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy

docs: $(READY)
	NO_MKDOCS_2_WARNING=1 $(BIN)/mkdocs build --strict

bench: $(BENCH_READY)
	$(BIN)/python -m tests.benchmarks.accuracy -o docs/accuracy.md

clean:
	rm -rf build dist site .mypy_cache .pytest_cache .ruff_cache .hypothesis .benchmarks
	find . -name __pycache__ -not -path './.venv/*' -prune -exec rm -rf {} +

$(READY): pyproject.toml
	@$(PYTHON) -c 'import sys; v = sys.version_info[:2]; sys.exit(0 if (3, 10) <= v <= (3, 13) else f"EdgeKit needs Python 3.10 to 3.13, and $(PYTHON) is {v[0]}.{v[1]}: make PYTHON=python3.12 ...")'
	$(PYTHON) -m venv .venv
	$(BIN)/python -m pip install --quiet $(TORCH)
	$(BIN)/python -m pip install --quiet -e '.[dev]'
	@touch $@

$(BENCH_READY): $(READY)
	$(BIN)/python -m pip install --quiet -e '.[bench]'
	@touch $@
