# Sets itself up on a machine with python3 (and its venv), perl, g++ and make; see README.md.
#   make demo   a trained model writes text, then one step of it runs on the RTL
#   make test   lint, types and every test         make lint   only the first two
#   make bench  the published measurements         make docs   the generated manuals
#   make clean  removes what was built, keeps the environment
# What takes longer, each by itself, all of it with `make nightly`:
#   make formal      all proofs and their mutants       make coverage  lines that the benches execute
#   make mutate      bugs planted in every unit         make fuzz      random programs, damaged models
#   make exhaustive  special functions on all inputs

PYTHON ?= python3
VENV   := .venv
BIN    := $(VENV)/bin
READY  := $(VENV)/.ready
SYSTEM := $(VENV)/.system-packages
WORKERS ?= 2
PROGRAMS ?= 1000
SEED ?= 1

.PHONY: demo test lint bench coverage docs clean
.DELETE_ON_ERROR:

demo: $(READY)
	$(BIN)/python programs/demo.py

test: lint $(SYSTEM)
	$(BIN)/python -m pytest -n $(WORKERS) -ra

lint: $(READY)
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy

bench: $(READY)
	$(BIN)/python bench/run.py

formal: $(SYSTEM)
	$(BIN)/python -m formal

coverage: $(SYSTEM)
	rm -rf build/coverage/lines
	$(BIN)/python -m pytest tb/ --sim verilator --coverage-required --line-coverage build/coverage/lines
	$(BIN)/python -m tb.line_coverage build/coverage/lines

mutate: $(SYSTEM)
	$(BIN)/python -m tb.mutate --jobs $(WORKERS) --docs docs/verification.md

fuzz: $(READY)
	$(BIN)/jalapeno fuzz --programs $(PROGRAMS) --seed $(SEED)
	$(BIN)/jalapeno fuzz --programs $(PROGRAMS) --seed $(SEED) --illegal
	$(BIN)/python -m tests.compiler.damage $(wildcard tests/models/exporters/*/*/model.onnx) --mutants $(PROGRAMS) --seed $(SEED)

exhaustive: $(READY)
	$(BIN)/python bench/exhaustive.py

nightly: test formal coverage fuzz exhaustive mutate

docs: $(READY)
	$(BIN)/python -m isa.manual -o docs/isa.md
	$(BIN)/python bench/node_tests.py --docs docs/operators.md

clean:
	rm -rf build .pytest_cache .ruff_cache .mypy_cache .hypothesis *.egg-info
	find . -name __pycache__ -not -path './$(VENV)/*' -prune -exec rm -rf {} +

$(BIN)/pip:
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || { \
	  echo "Python 3.11 or newer is needed; try: make PYTHON=python3.12"; exit 1; }
	$(PYTHON) -m venv $(VENV)

# The stamp is written last: an interrupted installation starts again.
$(READY): pyproject.toml | $(BIN)/pip
	PYTHONWARNINGS=ignore $(BIN)/pip install --quiet --disable-pip-version-check -e '.[dev,demo,formal]'
	@touch $@

$(SYSTEM): .ci/packages | $(READY)
	@BIN=$(BIN) .ci/packages
	@touch $@
