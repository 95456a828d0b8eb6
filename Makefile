# Two commands: `make demo` and `make test`. Both install into .venv first; the second time that is a no-op.
PYTHON ?= $(shell command -v python3.11 || command -v python3.12 || command -v python3.13 || command -v python3)
BIN := .venv/bin
CORES ?= 2

.PHONY: demo study test install lint clean-demo
.DELETE_ON_ERROR:

install: .venv/.installed

# sam2 ships no wheel and its build would fetch a second torch, so it is built against the one just installed.
.venv/.installed: envs/lock.txt envs/lock-source.txt
	@"$(PYTHON)" -c 'import sys; sys.exit(not (3, 11) <= sys.version_info[:2] < (3, 14))' \
		|| { echo "error: Relane needs Python 3.11 to 3.13; call make PYTHON=/path/to/python3.11"; exit 2; }
	"$(PYTHON)" -m venv .venv
	@echo "installing the pinned stack into .venv (about 5 GB, mostly CUDA libraries) ..."
	$(BIN)/pip install --quiet --disable-pip-version-check --no-deps -r envs/lock.txt
	SAM2_BUILD_CUDA=0 $(BIN)/pip install --quiet --disable-pip-version-check --no-deps --no-build-isolation -r envs/lock-source.txt
	$(BIN)/pip check
	@touch $@

# What the demo reads beside resources/tiny: a small PhysicalAI-AV dataset of a synthetic world.
build/world/.built: .venv/.installed simworld/programs/make_world.py $(wildcard simworld/world/*.py)
	$(BIN)/python simworld/programs/make_world.py --output build/world
	@touch $@

demo: build/world/.built
	$(BIN)/snakemake --profile profiles/demo --cores $(CORES)
	@echo "open results/demo/report/index.html"

# Forty clips, three edits each, and the table of the README: half an hour on two cores.
build/study/.built: .venv/.installed simworld/programs/make_world.py $(wildcard simworld/world/*.py)
	$(BIN)/python simworld/programs/make_world.py --output build/study --clips 40 --slower-car 40 --seed 40 --fps 10 --seconds 12
	@touch $@

study: build/study/.built
	$(BIN)/snakemake --profile profiles/demo --configfile config/demo.yaml config/study.yaml --cores $(CORES)
	@echo "open results/study/report/index.html"

test: .venv/.installed
	$(BIN)/python -m pytest -n $(CORES)

lint: .venv/.installed
	$(BIN)/ruff check . && $(BIN)/ruff format --check . && $(BIN)/snakefmt --check Snakefile rules simworld/rules

clean-demo:
	rm -rf results/demo results/study build
