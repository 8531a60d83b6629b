# Needs Python 3.11+ and make; the rest is set up by itself. Another Python: PYTHON=python3.13 make …
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
READY := $(VENV)/.ready

# Modules are compiled once, whatever the environment says: hundreds of tests start a process.
unexport PYTHONDONTWRITEBYTECODE

.PHONY: run check test test-all lint format lock bench fuzz audit sbom clean build-Usher

run: $(READY)
	$(BIN)/usher dev

# Three rings of tests, by the marks that tests/marks.py sets. ARGS=tests/store picks a part: `check`
# runs its fast tests, `test` all of them, and coverage is not measured.
# Two processes a core: many tests wait for a server that starts, or for a database that is away.
WORKERS ?= $(shell expr 2 \* `getconf _NPROCESSORS_ONLN`)
PYTEST = $(BIN)/python -m pytest -n $(WORKERS) --dist worksteal
FAST := not (process or postgresql or browser or node or slow)
PART = $(findstring tests/,$(ARGS))

check: lint
	$(PYTEST) -m "$(FAST)" $(ARGS)

test: $(READY)
	$(PYTEST) $(if $(PART),,-m "not slow") $(ARGS)

test-all: $(READY)
	$(PYTEST) $(if $(ARGS),,--cov --cov-report= --floors) $(ARGS)

lint: $(READY)
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy

format: $(READY)
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

bench: $(VENV)/.bench-ready
	$(BIN)/python -m bench $(ARGS)

# make fuzz SECONDS=300: seconds for each reader of strangers' input (docs/fuzzing.md).
SECONDS ?= 60
fuzz: $(VENV)/.fuzz-ready
	nice $(BIN)/python -m fuzz --seconds $(SECONDS) $(ARGS)

# The packages that run on a site, without the tools. `audit` compares them with known vulnerabilities,
# by a service on the network; `sbom` writes a bill of materials, offline.
audit: $(VENV)/.audit-ready
	$(BIN)/pip-audit --require-hashes --disable-pip -r deploy/requirements.lock
sbom: $(VENV)/.audit-ready
	$(BIN)/cyclonedx-py requirements --pyproject pyproject.toml --mc-type application \
		--output-reproducible --of JSON -o usher.cdx.json deploy/requirements.lock

# Needs uv. One lock for every Python from 3.11 on; hashes, no index address.
COMPILE := uv pip compile --universal --python-version 3.11 --generate-hashes --no-emit-index-url \
	--custom-compile-command "make lock" --quiet
lock:
	$(COMPILE) pyproject.toml --extra postgres --extra netlify --extra traces --extra testing --extra fastapi --extra flask --extra django --group dev -o requirements.lock
	$(COMPILE) pyproject.toml --group bench -c requirements.lock -o bench/requirements.lock
	$(COMPILE) pyproject.toml --group fuzz -c requirements.lock -o fuzz/requirements.lock
	$(COMPILE) pyproject.toml --extra postgres -c requirements.lock -o deploy/requirements.lock
	$(COMPILE) --group lambda -c requirements.lock -o deploy/lambda/requirements.lock
	$(subst 3.11,3.14,$(COMPILE)) --no-emit-package greenlet --group netlify -c requirements.lock -o netlify/requirements.lock
	$(COMPILE) pyproject.toml --group audit -c requirements.lock -o deploy/audit-requirements.lock

# `sam build` calls this, for deploy/template.yaml: wheels for Lambda, and the parts of usher that run there.
LAMBDA := __init__.py aws_lambda.py core functions server site
LAMBDA_PIP ?= $(PYTHON) -m pip install --quiet --disable-pip-version-check --require-hashes --no-deps \
	--no-compile --only-binary :all: --platform manylinux2014_x86_64 --platform manylinux_2_28_x86_64 \
	--implementation cp --python-version 3.13
# Lambda cannot keep what it compiles, so byte code is made here. It needs Python 3.13, as on Lambda.
build-Usher:
	$(LAMBDA_PIP) --target $(ARTIFACTS_DIR) -r deploy/lambda/requirements.lock
	mkdir -p $(ARTIFACTS_DIR)/usher
	cp -RL $(LAMBDA:%=usher/%) $(ARTIFACTS_DIR)/usher
	cp policy.toml $(ARTIFACTS_DIR)
	find $(ARTIFACTS_DIR) -name __pycache__ -prune -exec rm -rf {} +
	$(PYTHON) -m compileall -q --invalidation-mode unchecked-hash $(ARTIFACTS_DIR)

$(READY): requirements.lock pyproject.toml
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' \
		|| { echo "Usher needs Python 3.11 or newer: PYTHON=python3.13 make $(MAKECMDGOALS)"; exit 1; }
	$(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --require-hashes --no-deps --no-compile -r requirements.lock
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --no-deps --no-build-isolation --no-index -e .
	@$(BIN)/python -m compileall -qq -j 0 $(VENV)/lib || true  # by all cores; templates are no modules
	@touch $(READY)

$(VENV)/.bench-ready: $(READY) bench/requirements.lock
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --require-hashes --no-deps -r bench/requirements.lock
	@touch $@

$(VENV)/.fuzz-ready: $(READY) fuzz/requirements.lock
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --require-hashes --no-deps -r fuzz/requirements.lock
	@touch $@

$(VENV)/.audit-ready: $(READY) deploy/audit-requirements.lock
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --require-hashes --no-deps -r deploy/audit-requirements.lock
	@touch $@

clean:
	rm -rf $(VENV) .artifacts .pytest_cache .mypy_cache .ruff_cache .hypothesis .coverage* htmlcov
